//! The nearest known word to one that is not known.

/// The candidate that `word` was probably meant to be: few edits away, shorter or longer, or in another case.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let limit = match lower.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        6..=12 => 3,
        _ => 4,
    };
    candidates
        .into_iter()
        .map(|candidate| {
            let known = candidate.to_lowercase();
            // An abbreviation, or a word written out.
            let begins = known.len() >= 3 && lower.len() >= 3 && (known.starts_with(&lower) || lower.starts_with(&known));
            let edits = strsim::damerau_levenshtein(&lower, &known);
            (if begins { edits.min(2) } else { edits }, candidate)
        })
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typing_errors_are_recognised_and_other_words_are_not() {
        let known = ["url", "databases", "jobs", "keep_daily", "keep_weekly"];
        assert_eq!(nearest("jbos", known), Some("jobs"));
        assert_eq!(nearest("database", known), Some("databases"));
        assert_eq!(nearest("keep_dayly", known), Some("keep_daily"));
        assert_eq!(nearest("URL", known), Some("url"));
        assert_eq!(nearest("STANDARD_AI", ["STANDARD", "STANDARD_IA"]), Some("STANDARD_IA"));
        assert_eq!(nearest("monday", ["sun", "mon"]), Some("mon"));
        assert_eq!(nearest("compression", known), None);
        assert_eq!(nearest("", known), None);
    }
}
