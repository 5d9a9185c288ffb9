//! Seeded randomness, and names that are hard on quoting.

/// `SplitMix64`: the same numbers from the same seed on every machine.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, 0 where `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { usize::try_from(self.next() % n as u64).unwrap_or(0) }
    }

    /// A number from `low` to `high`, both possible.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in one of `n` cases.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `items`, which are not empty.
    pub(crate) fn of<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// One of `items`, if there are any.
    pub(crate) fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        if items.is_empty() { None } else { Some(items[self.below(items.len())].clone()) }
    }

    /// `text` in one of `n` cases, else nothing.
    pub(crate) fn maybe<'a>(&mut self, n: usize, text: &'a str) -> &'a str {
        if self.one_in(n) { text } else { "" }
    }

    /// Puts `items` into a random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Beginnings of names.
const ODD: &[&str] = &[
    "Mixed Case",
    "with \"quotes\"",
    "it's",
    "back\\slash",
    "new\nline",
    "select",
    "üñï∑",
    "😀𝄞",
    "$dollar$",
    "%s%I",
    "a.b",
    " lead",
    "-- dash",
    "/* c */",
    "tab\t",
    ";semi",
    "{\"j\":1}",
    "1digit",
    "\\restrict",
    ":var",
    "(paren",
    "[x]",
    "a,b",
    "\"",
    "''",
    "Ünïcode İı",
];

/// A name that no other object of the database has, of at most 63 bytes.
pub(crate) fn name(rng: &mut Rng, stem: &str, number: u32) -> String {
    match rng.below(10) {
        0..=5 => format!("{stem}{number}"),
        6 => format!("{stem}{number}{}", "x".repeat(63 - stem.len() - number.to_string().len())),
        _ => format!("{}{stem}{number}", rng.of(ODD)),
    }
}
