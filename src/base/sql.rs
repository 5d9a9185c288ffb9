//! SQL text of a backup in which role names and the database's name stay replaceable.
//!
//! Statements are rendered when the backup is made. `--role-map OLD=NEW` and a restore under another database name must not
//! parse SQL, so the places where these names stand are pieces of their own: in JSON a statement is a list of strings,
//! `{"role": "name"}` and `{"database": "name"}`. Joining them, names quoted, gives the statement.

use serde::{Deserialize, Serialize};

/// Quotes an identifier. Always quoted: what needs no quotes in one version may be a keyword in the next.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"schema"."name"`.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// Quotes a string literal so that it reads the same whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// One piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Piece {
    /// Text as it stands.
    Text(String),
    /// A role's name, unquoted; `PUBLIC` is text, never a role.
    Role {
        /// The name in the source.
        role: String,
    },
    /// The name of the database that the backup is of, unquoted.
    Database {
        /// The name in the source.
        database: String,
    },
}

/// One SQL statement without its semicolon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sql(Vec<Piece>);

impl Sql {
    /// An empty statement to append to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends text.
    pub fn text(mut self, text: impl AsRef<str>) -> Self {
        self.push(text);
        self
    }

    /// Appends text in place.
    pub fn push(&mut self, text: impl AsRef<str>) {
        match self.0.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text.as_ref()),
            _ => self.0.push(Piece::Text(text.as_ref().to_owned())),
        }
    }

    /// Appends a role's name.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.0.push(Piece::Role { role: role.into() });
        self
    }

    /// Appends the database's name.
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.0.push(Piece::Database { database: database.into() });
        self
    }

    /// Appends another statement's pieces.
    pub fn append(mut self, other: &Self) -> Self {
        for piece in &other.0 {
            match piece {
                Piece::Text(text) => self.push(text),
                name => self.0.push(name.clone()),
            }
        }
        self
    }

    /// The role names in it.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|p| match p {
            Piece::Role { role } => Some(role.as_str()),
            _ => None,
        })
    }

    /// The statement, each role name passed through `role` and the database's through `database` before quoting.
    pub fn render(&self, role: impl Fn(&str) -> String, database: impl Fn(&str) -> String) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Role { role: name } => ident(&role(name)),
                Piece::Database { database: name } => ident(&database(name)),
            })
            .collect()
    }

    /// The statement with all names as they were in the source.
    pub fn plain(&self) -> String {
        self.render(str::to_owned, str::to_owned)
    }
}

impl From<String> for Sql {
    fn from(text: String) -> Self {
        Self(vec![Piece::Text(text)])
    }
}

impl From<&str> for Sql {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_where_they_stand_and_nowhere_else() {
        let sql = Sql::from("GRANT SELECT ON \"app\".\"app\" TO ").role("app").text(" /* app */");
        assert_eq!(sql.render(|r| format!("new {r}"), str::to_owned), "GRANT SELECT ON \"app\".\"app\" TO \"new app\" /* app */");
        let text = serde_json::to_string(&sql).expect("serialise");
        assert_eq!(text, r#"["GRANT SELECT ON \"app\".\"app\" TO ",{"role":"app"}," /* app */"]"#);
        assert_eq!(serde_json::from_str::<Sql>(&text).expect("parse"), sql);
    }

    #[test]
    fn quoting_survives_quotes_and_backslashes() {
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }
}
