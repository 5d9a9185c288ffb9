CREATE SCHEMA a;
CREATE FUNCTION a.sfunc(internal, integer) RETURNS internal LANGUAGE internal AS 'int4_avg_accum';
CREATE FUNCTION a.final_extra(state bigint, x bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE AGGREGATE a.newcnt(*) (sfunc = int8inc, stype = int8, initcond = '0', parallel = safe);
CREATE AGGREGATE a.total(bigint) (sfunc = int8pl, stype = int8, sspace = 64, initcond = '0', combinefunc = int8pl,
  msfunc = int8pl, minvfunc = int8mi, mstype = int8, msspace = 32, minitcond = '0', finalfunc = a.final_extra, finalfunc_extra, finalfunc_modify = shareable,
  mfinalfunc = a.final_extra, mfinalfunc_extra, mfinalfunc_modify = read_write, parallel = restricted);
CREATE AGGREGATE a.biggest(integer) (sfunc = int4larger, stype = integer, sortop = >);
CREATE AGGREGATE a.partial(numeric) (sfunc = numeric_avg_accum, stype = internal, finalfunc = numeric_avg, combinefunc = numeric_avg_combine,
  serialfunc = numeric_avg_serialize, deserialfunc = numeric_avg_deserialize, parallel = safe);
CREATE AGGREGATE a.percentile(float8 ORDER BY anyelement) (sfunc = ordered_set_transition, stype = internal,
  finalfunc = percentile_disc_final, finalfunc_extra);
CREATE AGGREGATE a."my Rank"(VARIADIC "any" ORDER BY VARIADIC "any") (sfunc = ordered_set_transition_multi, stype = internal,
  finalfunc = rank_final, finalfunc_extra, hypothetical);
COMMENT ON AGGREGATE a.percentile(float8 ORDER BY anyelement) IS 'one of them';
COMMENT ON AGGREGATE a.newcnt(*) IS 'count';
ALTER AGGREGATE a.percentile(float8 ORDER BY anyelement) OWNER TO corpus_owner;
ALTER AGGREGATE a.newcnt(*) OWNER TO corpus_owner;
REVOKE ALL ON FUNCTION a.newcnt() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION a."my Rank"(VARIADIC "any") TO corpus_reader;
GRANT EXECUTE ON FUNCTION a.percentile(float8, anyelement) TO corpus_reader;
