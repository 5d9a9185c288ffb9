//! A backup's table of contents: opaque documents, streams, and the parts that hold them.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, BufWriter, Write};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::format::{Checksum, FORMAT, check_format};
use crate::base::fingerprint::Fingerprint;
use crate::base::ids::{BackupId, PartId, parse_hex32};
use crate::base::limits::ZSTD_LEVEL;
use crate::base::{Error, Result};

const HEADER_TAG: &str = "pgkeep_contents";
const PART_TAG: &str = "part";
const STREAM_TAG: &str = "stream";

/// A document that the vault keeps without knowing what it is.
#[derive(Debug, Clone)]
pub struct Document {
    /// What it is to the writer: `entry`, `table`, ….
    pub tag: String,
    /// The document.
    pub json: Box<RawValue>,
}

impl Document {
    /// `value` under `tag`, which must not be one of the vault's own.
    pub fn new<T: Serialize>(tag: &str, value: &T) -> Result<Self> {
        let json = serde_json::value::to_raw_value(value)
            .map_err(|e| Error::internal(format!("serialise a '{tag}' of the contents")).source(e))?;
        let document = Self { tag: tag.to_owned(), json };
        document.check()?;
        Ok(document)
    }

    /// The value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.json.get())
            .map_err(|e| Error::integrity(format!("a '{}' of the contents is not what it should be", self.tag)).source(e))
    }

    fn check(&self) -> Result<()> {
        if [HEADER_TAG, PART_TAG, STREAM_TAG].contains(&self.tag.as_str()) || self.json.get().contains('\n') {
            return Err(Error::internal(format!("a document of tag '{}' cannot stand in contents", self.tag)));
        }
        Ok(())
    }
}

/// A part that the backup needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// SHA-256 of its plaintext.
    pub id: PartId,
    /// Bytes of plaintext.
    pub size: u64,
    /// Bytes of the object.
    pub stored: u64,
    /// SHA-256 of the object.
    pub sha256: Checksum,
}

/// A piece of a part: number of the part, offset and length in its plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 3]", into = "[u64; 3]")]
pub struct Extent {
    /// Number of the part in the contents.
    pub part: u64,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl From<[u64; 3]> for Extent {
    fn from([part, offset, length]: [u64; 3]) -> Self {
        Self { part, offset, length }
    }
}

impl From<Extent> for [u64; 3] {
    fn from(e: Extent) -> Self {
        [e.part, e.offset, e.length]
    }
}

/// A stream of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Its name, unique in the backup.
    pub name: String,
    /// What its rows are.
    pub fingerprint: Fingerprint,
    /// Where they are, in order.
    pub extents: Vec<Extent>,
}

/// Everything that a backup names.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The backup.
    pub backup: BackupId,
    /// Opaque documents, in the writer's order.
    pub documents: Vec<Document>,
    /// Parts, in order of first use.
    pub parts: Vec<PartRecord>,
    /// Streams, in order of name.
    pub streams: Vec<StreamRecord>,
}

impl Contents {
    /// The documents with this tag, in order.
    pub fn documents<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a Document> {
        self.documents.iter().filter(move |d| d.tag == tag)
    }

    /// Bytes of all parts: plaintext and stored.
    pub fn part_bytes(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(plain, stored), p| (plain + p.size, stored + p.stored))
    }

    /// The object: compressed JSON lines. Checks all invariants first.
    pub fn to_bytes(&self) -> Result<Bytes> {
        self.check()?;
        let write = || -> std::io::Result<Vec<u8>> {
            let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
            encoder.include_checksum(true)?;
            // A call of the compressor for every few bytes of JSON would cost more than compressing them.
            let mut out = BufWriter::with_capacity(zstd::Encoder::<Vec<u8>>::recommended_input_size(), encoder);
            writeln!(out, "{{\"{HEADER_TAG}\":{FORMAT},\"backup\":\"{}\"}}", self.backup)?;
            for document in &self.documents {
                line(&mut out, &document.tag, &document.json)?;
            }
            for part in &self.parts {
                line(&mut out, PART_TAG, part)?;
            }
            for stream in &self.streams {
                line(&mut out, STREAM_TAG, stream)?;
            }
            out.into_inner()?.finish()
        };
        Ok(write().map_err(|e| Error::internal("serialise contents").source(e))?.into())
    }

    /// Reads an object made by [`Contents::to_bytes`] and checks all invariants.
    pub fn from_bytes(stored: &[u8]) -> Result<Self> {
        let (backup, mut lines) = Lines::open(stored)?;
        let mut contents = Self { backup, documents: Vec::new(), parts: Vec::new(), streams: Vec::new() };
        while let Some((tag, json)) = lines.next()? {
            match tag.as_str() {
                PART_TAG => contents.parts.push(parse(&json)?),
                STREAM_TAG => contents.streams.push(parse(&json)?),
                _ => contents.documents.push(Document { tag, json }),
            }
        }
        contents.check()?;
        Ok(contents)
    }

    fn check(&self) -> Result<()> {
        self.documents.iter().try_for_each(Document::check)?;
        parts_are_unique(self)?;
        streams_are_unique_and_sorted(self)?;
        extents_lie_within_their_parts(self)?;
        lengths_add_up(self)?;
        parts_are_used_in_order(self)
    }
}

/// The parts that an object made by [`Contents::to_bytes`] names, without keeping the rest.
pub fn read_parts(stored: &[u8]) -> Result<(BackupId, Vec<PartRecord>)> {
    let mut parts = Vec::new();
    let backup = for_each_part(stored, |json| {
        parts.push(parse_slice(json)?);
        Ok(())
    })?;
    Ok((backup, parts))
}

/// Calls `each` with the ids of the parts that an object made by [`Contents::to_bytes`] names: a prune reads millions.
pub fn for_each_part_id(stored: &[u8], mut each: impl FnMut(&PartId)) -> Result<BackupId> {
    for_each_part(stored, |json| {
        let digits = json.strip_prefix(br#"{"id":""#).and_then(|rest| rest.split_first_chunk::<64>());
        let plain = digits.filter(|(_, rest)| rest.first() == Some(&b'"')).and_then(|(digits, _)| parse_hex32(digits));
        let id = match plain {
            Some(id) => PartId::new(id),
            None => parse_slice::<PartRecord>(json)?.id,
        };
        each(&id);
        Ok(())
    })
}

/// Calls `each` with the JSON of every part; lines that are plainly something else are not looked into.
fn for_each_part(stored: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<BackupId> {
    let (backup, mut lines) = Lines::open(stored)?;
    while lines.read()? {
        match plain_field(&lines.line) {
            Some((tag, json)) if tag == PART_TAG.as_bytes() => each(json)?,
            Some(_) => {}
            None => match lines.field()? {
                (tag, json) if tag == PART_TAG => each(json.get().as_bytes())?,
                _ => {}
            },
        }
    }
    Ok(backup)
}

/// Tag and value of a line as we write it: no space and no escape before the value.
fn plain_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(b"{\"")?;
    let (tag, rest) = rest.split_at_checked(memchr::memchr(b'"', rest)?)?;
    let json = rest.strip_prefix(b"\":")?.strip_suffix(b"}\n")?;
    (!tag.contains(&b'\\')).then_some((tag, json))
}

fn line<T: Serialize + ?Sized>(out: &mut impl Write, tag: &str, value: &T) -> std::io::Result<()> {
    write!(out, "{{{}:", serde_json::to_string(tag)?)?;
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"}\n")
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::integrity(format!("contents are damaged: {what}"))
}

fn parse<T: DeserializeOwned>(json: &RawValue) -> Result<T> {
    serde_json::from_str(json.get()).map_err(|e| damaged("a line is not what its tag says").source(e))
}

fn parse_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|e| damaged("a line is not what its tag says").source(e))
}

struct Lines<'a> {
    input: BufReader<zstd::Decoder<'a, BufReader<&'a [u8]>>>,
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn open(stored: &'a [u8]) -> Result<(BackupId, Self)> {
        #[derive(Deserialize)]
        struct Header {
            pgkeep_contents: u32,
            backup: BackupId,
        }
        let input = BufReader::with_capacity(64 << 10, zstd::Decoder::new(stored).map_err(|e| damaged("not zstd").source(e))?);
        let mut lines = Self { input, line: Vec::new() };
        if !lines.read()? {
            return Err(damaged("they are empty"));
        }
        let header: Header = serde_json::from_slice(&lines.line).map_err(|e| damaged("the first line is no header").source(e))?;
        check_format(header.pgkeep_contents, "the table of contents")?;
        Ok((header.backup, lines))
    }

    fn read(&mut self) -> Result<bool> {
        self.line.clear();
        self.input.read_until(b'\n', &mut self.line).map_err(|e| damaged("they do not decompress").source(e))?;
        Ok(!self.line.is_empty())
    }

    fn next(&mut self) -> Result<Option<(String, Box<RawValue>)>> {
        if self.read()? { self.field().map(Some) } else { Ok(None) }
    }

    /// Tag and value of the present line.
    fn field(&self) -> Result<(String, Box<RawValue>)> {
        let fields: HashMap<String, Box<RawValue>> =
            serde_json::from_slice(&self.line).map_err(|e| damaged("a line is not an object").source(e))?;
        let mut fields = fields.into_iter();
        match (fields.next(), fields.next()) {
            (Some(field), None) => Ok(field),
            _ => Err(damaged("a line has not exactly one field")),
        }
    }
}

fn parts_are_unique(c: &Contents) -> Result<()> {
    let mut seen = HashSet::with_capacity(c.parts.len());
    c.parts
        .iter()
        .try_for_each(|p| if seen.insert(p.id) { Ok(()) } else { Err(damaged(format!("part {} is listed twice", p.id))) })
}

fn streams_are_unique_and_sorted(c: &Contents) -> Result<()> {
    c.streams.windows(2).try_for_each(|w| {
        if w[0].name < w[1].name {
            Ok(())
        } else {
            Err(damaged(format!("stream '{}' is out of order or listed twice", w[1].name)))
        }
    })
}

fn extents_lie_within_their_parts(c: &Contents) -> Result<()> {
    for stream in &c.streams {
        for e in &stream.extents {
            let size = usize::try_from(e.part).ok().and_then(|i| c.parts.get(i)).map(|p| p.size);
            let Some(size) = size else {
                return Err(damaged(format!("stream '{}' names part {}, which is not listed", stream.name, e.part)));
            };
            if e.length == 0 || e.offset.checked_add(e.length).is_none_or(|end| end > size) {
                return Err(damaged(format!("stream '{}' reads outside of part {}", stream.name, e.part)));
            }
        }
    }
    Ok(())
}

fn lengths_add_up(c: &Contents) -> Result<()> {
    c.streams.iter().try_for_each(|s| {
        let sum: u64 = s.extents.iter().map(|e| e.length).sum();
        if sum == s.fingerprint.bytes {
            Ok(())
        } else {
            Err(damaged(format!("the pieces of stream '{}' hold {sum} bytes, its rows have {}", s.name, s.fingerprint.bytes)))
        }
    })
}

fn parts_are_used_in_order(c: &Contents) -> Result<()> {
    let mut used = 0;
    for e in c.streams.iter().flat_map(|s| &s.extents) {
        if e.part > used {
            return Err(damaged(format!("part {} is used before part {used}", e.part)));
        }
        used = used.max(e.part + 1);
    }
    if used == c.parts.len() as u64 {
        Ok(())
    } else {
        Err(damaged(format!("{} parts are listed and {used} are used", c.parts.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(n: u8, size: u64) -> PartRecord {
        PartRecord { id: PartId::new([n; 32]), size, stored: size / 2, sha256: Checksum([n; 32]) }
    }

    fn stream(name: &str, bytes: u64, extents: &[[u64; 3]]) -> StreamRecord {
        let fingerprint = Fingerprint { rows: 1, bytes, sum: 7 };
        StreamRecord { name: name.to_owned(), fingerprint, extents: extents.iter().map(|e| Extent::from(*e)).collect() }
    }

    fn sample() -> Contents {
        Contents {
            backup: "20261122T021500Z-7f3a".parse().expect("id"),
            documents: vec![Document::new("entry", &serde_json::json!({"id": "schema \"a\nb\""})).expect("document")],
            parts: vec![part(1, 10), part(2, 20)],
            streams: vec![stream("a", 15, &[[0, 0, 10], [1, 0, 5]]), stream("b", 15, &[[1, 5, 15]]), stream("empty", 0, &[])],
        }
    }

    fn ids(stored: &[u8]) -> Result<Vec<PartId>> {
        let mut ids = Vec::new();
        for_each_part_id(stored, |id| ids.push(*id)).map(|_| ids)
    }

    #[test]
    fn parts_are_found_however_a_line_is_written_and_nothing_else_is_taken_for_one() {
        let plain = zstd::decode_all(&sample().to_bytes().expect("write")[..]).expect("zstd");
        let text = String::from_utf8(plain).expect("text");
        let expected: Vec<PartId> = sample().parts.iter().map(|p| p.id).collect();
        let stored = |text: &str| zstd::encode_all(text.as_bytes(), 1).expect("zstd");
        for (ours, theirs) in [
            (r#"{"part":{"id":"#, r#"{"part":{ "id" : "#),
            (r#"{"part":{"#, r#"{ "part":{"#),
            (r#"{"part":{"#, r#"{"p\u0061rt":{"#),
            (r#"{"part":{"#, r#"{"part":{"new":1,"#),
            (r#"{"entry":{"#, r#"{"entry":{"part":{"id":"x"},"#),
            ("}\n", " }\n"),
        ] {
            let other = text.replace(ours, theirs);
            assert_ne!(other, text);
            assert_eq!(ids(&stored(&other)).expect(theirs), expected);
        }
        for (ours, theirs) in [(r#""id":"01"#, r#""id":"0g"#), (r#"{"part":{"id""#, r#"{"part":[{"id""#), ("\"}}\n", "\"\n")] {
            assert_eq!(ids(&stored(&text.replace(ours, theirs))).expect_err(theirs).kind(), crate::base::Kind::Integrity);
        }
    }

    #[test]
    fn contents_round_trip_as_readable_lines() {
        let bytes = sample().to_bytes().expect("write");
        let back = Contents::from_bytes(&bytes).expect("read");
        assert_eq!((&back.parts, &back.streams), (&sample().parts, &sample().streams));
        assert_eq!(back.documents[0].parse::<serde_json::Value>().expect("json"), serde_json::json!({"id": "schema \"a\nb\""}));
        assert_eq!(read_parts(&bytes).expect("parts").1, sample().parts);
        assert_eq!(ids(&bytes).expect("ids"), sample().parts.iter().map(|p| p.id).collect::<Vec<_>>());
        let text = String::from_utf8(zstd::decode_all(&bytes[..]).expect("zstd")).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], r#"{"pgkeep_contents":1,"backup":"20261122T021500Z-7f3a"}"#);
        assert_eq!(lines[1], r#"{"entry":{"id":"schema \"a\nb\""}}"#);
        assert!(lines[4].starts_with(r#"{"stream":{"name":"a","fingerprint":{"rows":1,"bytes":15,"sum":"00000000000000000000000000000007"},"extents":[[0,0,10],[1,0,5]]}}"#));
        assert_eq!(lines.len(), 7);
    }

    #[test]
    fn each_invariant_is_checked_before_writing() {
        type Case = (&'static str, fn(&mut Contents));
        let cases: [Case; 9] = [
            ("not listed", |c| c.streams[1].extents[0].part = 2),
            ("outside", |c| c.streams[1].extents[0].offset = 6),
            ("outside", |c| c.streams[1].extents[0].offset = u64::MAX),
            ("outside", |c| c.streams[1].extents[0].length = 0),
            ("hold 15 bytes", |c| c.streams[0].fingerprint.bytes = 14),
            ("listed twice", |c| c.parts[1].id = c.parts[0].id),
            ("out of order", |c| c.streams.swap(0, 1)),
            ("3 parts are listed and 2 are used", |c| c.parts.push(part(3, 1))),
            ("cannot stand", |c| c.documents[0].tag = "part".to_owned()),
        ];
        for (words, damage) in cases {
            let mut contents = sample();
            damage(&mut contents);
            let e = contents.to_bytes().expect_err(words);
            assert!(e.message().contains(words), "{e} should say {words}");
        }
    }

    #[test]
    fn damage_and_newer_formats_are_refused() {
        let bytes = sample().to_bytes().expect("write");
        for at in 0..bytes.len() {
            assert!(Contents::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
        let newer = zstd::encode_all(&br#"{"pgkeep_contents":2,"backup":"20261122T021500Z-7f3a"}"#[..], 1).expect("zstd");
        assert_eq!(Contents::from_bytes(&newer).expect_err("refused").kind(), crate::base::Kind::Unsupported);
    }
}
