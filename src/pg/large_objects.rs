//! The content of large objects as rows of (oid, byte offset, data), one row a page of the server, ordered by oid.
//!
//! Who may read `pg_largeobject` gets all pages in one scan; others call `lo_get` for all objects in one statement and cut what it returns at
//! the same places. Writing goes through a temporary table and `lo_put`, many pages a round trip. A page that is missing in the source (a hole)
//! stays missing when it was read by scan; by `lo_get` it is read as zeros. Either way the copy holds exactly the rows that were read.

use crate::base::Result;
use crate::pg::session::{Session, column};

/// Objects are read in ranges of this many oids: fixed, so that new objects leave the streams of old ones as they were.
const RANGE: u64 = 1 << 20;

/// Bytes that `lo_get` is asked for at a time.
const PIECE: u32 = 1 << 20;

/// A range of oids that holds objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OidRange {
    /// First oid.
    pub(crate) from: u64,
    /// First oid after it.
    pub(crate) to: u64,
    /// Objects in it.
    pub(crate) objects: u64,
}

/// How the pages can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    direct: bool,
    page: u32,
}

/// The columns of the rows.
pub(crate) const COLUMNS: [&str; 3] = ["oid", "offset", "data"];

impl Session {
    /// The ranges that hold large objects.
    pub(crate) async fn large_object_ranges(&self) -> Result<Vec<OidRange>> {
        let text = format!("SELECT oid::int8 / {RANGE}, count(*) FROM pg_largeobject_metadata GROUP BY 1 ORDER BY 1");
        let rows = self.rows("count large objects", &text).await?;
        rows.iter()
            .map(|row| {
                let number = column::<i64>(row, 0)?.unsigned_abs();
                Ok(OidRange { from: number * RANGE, to: (number + 1) * RANGE, objects: column::<i64>(row, 1)?.unsigned_abs() })
            })
            .collect()
    }

    /// How this session can read large objects.
    pub(crate) async fn large_object_access(&self) -> Result<Access> {
        let row = self
            .row(
                "check privileges on large objects",
                "SELECT has_table_privilege('pg_catalog.pg_largeobject', 'SELECT'), current_setting('block_size')::int4 / 4",
            )
            .await?;
        Ok(Access { direct: column(&row, 0)?, page: column::<i32>(&row, 1)?.unsigned_abs() })
    }

    /// Writes the pages that COPY has put into [`SCRATCH`], and empties it. Returns how many.
    pub(crate) async fn write_large_objects(&self) -> Result<u64> {
        let text = "SELECT count(pg_catalog.lo_put(p.loid, p.start, p.data)) \
                      FROM (SELECT * FROM pg_temp.pgkeep_large_objects ORDER BY loid, start) p";
        let row = self.row("write large objects", text).await?;
        self.run("empty the scratch table", "TRUNCATE pg_temp.pgkeep_large_objects").await?;
        Ok(column::<i64>(&row, 0)?.unsigned_abs())
    }
}

/// Makes the temporary table of [`Session::write_large_objects`].
pub(crate) const MAKE_SCRATCH: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS pgkeep_large_objects \
    (loid pg_catalog.oid, start pg_catalog.int8, data pg_catalog.bytea)";

/// COPY into it.
pub(crate) const COPY_SCRATCH: &str = "COPY pg_temp.pgkeep_large_objects (loid, start, data) FROM STDIN";

/// The statement that reads the pages of a range.
pub(crate) fn copy_out(range: &OidRange, access: Access) -> String {
    let (from, to, page) = (range.from, range.to, access.page);
    // The last range ends beyond the largest oid.
    let bounds = |column: &str| match u32::try_from(to) {
        Ok(to) => format!("{column} >= {from}::oid AND {column} < {to}::oid"),
        Err(_) => format!("{column} >= {from}::oid"),
    };
    if access.direct {
        return format!(
            "COPY (SELECT loid, pageno::int8 * {page}, data FROM pg_catalog.pg_largeobject WHERE {} ORDER BY loid, pageno) TO STDOUT",
            bounds("loid")
        );
    }
    format!(
        "COPY (SELECT m.oid, piece.start + page.number * {page}, substr(piece.data, page.number * {page} + 1, {page}) \
           FROM (SELECT oid FROM pg_catalog.pg_largeobject_metadata WHERE {} ORDER BY oid) m, \
                LATERAL (WITH RECURSIVE pieces (start, data) AS ( \
                   SELECT 0::int8, lo_get(m.oid, 0::int8, {PIECE}) UNION ALL \
                   SELECT start + {PIECE}, lo_get(m.oid, start + {PIECE}, {PIECE}) FROM pieces WHERE octet_length(data) = {PIECE}) \
                 SELECT start, data FROM pieces) piece, \
                LATERAL generate_series(0, (octet_length(piece.data) - 1) / {page}) page (number) \
          WHERE octet_length(piece.data) > 0) TO STDOUT",
        bounds("oid")
    )
}

/// Name of the stream of a range.
pub(crate) fn stream(range: &OidRange) -> String {
    format!("large_objects/{}", range.from)
}
