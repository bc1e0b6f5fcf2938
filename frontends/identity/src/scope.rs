//! What a client asks a token for: `repository:acme/backend/api:pull,push` (Docker token spec).
//!
//! **Promises.** What comes out is bounded in number and length. An action or a kind of resource that is
//! not known here asks for nothing, as the specification wants (the token holds what was
//! granted of what was asked); text that is no scope at all is an error.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most scopes of one request: a client that pushes asks for one, and one for each mount.
const MAX_SCOPES: usize = 64;

/// The longest scope, in bytes.
const MAX_LENGTH: usize = 1_024;

/// Why the scopes of a request could not be read. Answer 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// There are too many.
    #[error("a token can be asked for {MAX_SCOPES} scopes at once, not more")]
    TooMany,
    /// One is too long.
    #[error("a scope is {length} bytes long; {MAX_LENGTH} are the most")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// Not of the form `repository:NAME:ACTION,ACTION`.
    #[error("{scope:?} is no scope; one looks like repository:acme/backend/api:pull,push")]
    Malformed {
        /// What was sent.
        scope: String,
    },
}

/// What actions a scope asks for, or a token grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Actions {
    /// Read content.
    pub pull: bool,
    /// Write content.
    pub push: bool,
    /// Delete content.
    pub delete: bool,
}

impl Actions {
    const NAMED: [(&str, Self); 4] = [
        ("pull", Self { pull: true, push: false, delete: false }),
        ("push", Self { pull: false, push: true, delete: false }),
        ("delete", Self { pull: false, push: false, delete: true }),
        ("*", Self { pull: true, push: true, delete: true }),
    ];

    /// The actions of these names; names that are not known are left out.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let known = |name| Self::NAMED.iter().find(|(known, _)| *known == name);
        names.into_iter().filter_map(known).fold(Self::default(), |sum, (_, one)| sum.or(*one))
    }

    /// The names of these actions, in a fixed order.
    pub fn names(self) -> Vec<&'static str> {
        let named = Self::NAMED.iter().take(3);
        named.filter(|(_, one)| self.and(*one) == *one).map(|(name, _)| *name).collect()
    }

    /// What both have.
    pub fn and(self, other: Self) -> Self {
        Self {
            pull: self.pull && other.pull,
            push: self.push && other.push,
            delete: self.delete && other.delete,
        }
    }

    /// What either has.
    pub fn or(self, other: Self) -> Self {
        Self {
            pull: self.pull || other.pull,
            push: self.push || other.push,
            delete: self.delete || other.delete,
        }
    }

    /// What this has and `other` lacks.
    pub fn without(self, other: Self) -> Self {
        Self {
            pull: self.pull && !other.pull,
            push: self.push && !other.push,
            delete: self.delete && !other.delete,
        }
    }

    /// Whether it is none at all.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// What a scope is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A repository, by the name in its path, not yet parsed.
    Repository(String),
    /// The list of all repositories: `registry:catalog`.
    Catalog,
}

/// One resource and what is asked, or granted, there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// What it is about.
    pub resource: Resource,
    /// What is asked for.
    pub actions: Actions,
}

/// Reads the `scope` parameters of a request: each may hold several, with spaces between. The
/// same resource asked for twice comes out once, with the actions of both.
pub fn parse<'a>(parameters: impl IntoIterator<Item = &'a str>) -> Result<Vec<Scope>, ScopeError> {
    let mut scopes: Vec<Scope> = Vec::new();
    let texts = parameters.into_iter().flat_map(|parameter| parameter.split(' '));
    for (count, text) in texts.filter(|text| !text.is_empty()).enumerate() {
        if count >= MAX_SCOPES {
            return Err(ScopeError::TooMany);
        }
        let Some(scope) = Scope::parse(text)? else { continue };
        match scopes.iter_mut().find(|known| known.resource == scope.resource) {
            Some(known) => known.actions = known.actions.or(scope.actions),
            None => scopes.push(scope),
        }
    }
    Ok(scopes)
}

impl Scope {
    /// Reads one scope; `None` where it is about a kind of resource that is not known here.
    pub fn parse(text: &str) -> Result<Option<Self>, ScopeError> {
        if text.len() > MAX_LENGTH {
            return Err(ScopeError::TooLong { length: text.len() });
        }
        let malformed = || ScopeError::Malformed { scope: text.to_owned() };
        // A name may begin with a host and its port, so the actions follow the last colon.
        let (kind, rest) = text.split_once(':').ok_or_else(malformed)?;
        let (name, actions) = rest.rsplit_once(':').ok_or_else(malformed)?;
        let fit = |b: u8| b.is_ascii_alphanumeric() || b"._-/:".contains(&b);
        if name.is_empty() || !name.bytes().all(fit) {
            return Err(malformed());
        }
        // `repository(plugin)` is of the kind `repository`.
        let kind = kind.split_once('(').map_or(kind, |(kind, _class)| kind);
        let resource = match (kind, name) {
            ("repository", name) => Resource::Repository(name.to_owned()),
            ("registry", "catalog") => Resource::Catalog,
            _ => return Ok(None),
        };
        Ok(Some(Self { resource, actions: Actions::from_names(actions.split(',')) }))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Resource::Repository(name) => {
                write!(f, "repository:{name}:{}", self.actions.names().join(","))
            }
            Resource::Catalog => f.write_str("registry:catalog:*"),
        }
    }
}

/// One entry of the `access` claim, as the Docker token spec writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The resource's name.
    pub name: String,
    /// What may be done.
    pub actions: Vec<String>,
}

impl From<&Scope> for Access {
    fn from(scope: &Scope) -> Self {
        let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        match &scope.resource {
            Resource::Repository(name) => Self {
                kind: "repository".to_owned(),
                name: name.clone(),
                actions: own(scope.actions.names()),
            },
            Resource::Catalog => Self {
                kind: "registry".to_owned(),
                name: "catalog".to_owned(),
                actions: own(if scope.actions.is_empty() { vec![] } else { vec!["*"] }),
            },
        }
    }
}

impl Access {
    /// The scope that it grants; `None` where it is about something that is not known here.
    pub fn scope(&self) -> Option<Scope> {
        let resource = match (self.kind.as_str(), self.name.as_str()) {
            ("repository", name) => Resource::Repository(name.to_owned()),
            ("registry", "catalog") => Resource::Catalog,
            _ => return None,
        };
        let actions = Actions::from_names(self.actions.iter().map(String::as_str));
        Some(Scope { resource, actions })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repository(name: &str, actions: &str) -> Scope {
        let actions = Actions::from_names(actions.split(','));
        Scope { resource: Resource::Repository(name.to_owned()), actions }
    }

    #[test]
    fn what_docker_asks_for_is_read() {
        assert_eq!(
            parse(["repository:acme/backend/api:pull,push"]).unwrap(),
            [repository("acme/backend/api", "pull,push")]
        );
        assert_eq!(
            parse(["repository:a/b/c:pull repository:a/b/d:pull", "registry:catalog:*"]).unwrap(),
            [
                repository("a/b/c", "pull"),
                repository("a/b/d", "pull"),
                Scope { resource: Resource::Catalog, actions: Actions::from_names(["*"]) }
            ]
        );
        assert_eq!(
            parse(["repository(plugin):localhost:5000/a:pull"]).unwrap(),
            [repository("localhost:5000/a", "pull")]
        );
        assert!(parse([]).unwrap().is_empty() && parse(["", "  "]).unwrap().is_empty());
    }

    #[test]
    fn a_repository_asked_for_twice_comes_out_once() {
        let scopes = parse(["repository:a/b/c:pull", "repository:a/b/c:push"]).unwrap();
        assert_eq!(scopes, [repository("a/b/c", "pull,push")]);
    }

    #[test]
    fn what_is_not_known_asks_for_nothing() {
        assert!(parse(["artifact:x:pull", "registry:other:*"]).unwrap().is_empty());
        let scopes = parse(["repository:a/b/c:own,PULL"]).unwrap();
        assert!(scopes[0].actions.is_empty());
    }

    #[test]
    fn what_is_no_scope_is_an_error() {
        for bad in [
            "pull",
            "repository:pull",
            "repository::pull",
            "repository:a\nb:pull",
            "repository:a\"b:pull",
        ] {
            assert!(matches!(parse([bad]), Err(ScopeError::Malformed { .. })), "{bad:?}");
        }
        let long = format!("repository:{}:pull", "a".repeat(MAX_LENGTH));
        assert!(matches!(parse([long.as_str()]), Err(ScopeError::TooLong { .. })));
        let many = "repository:a:pull ".repeat(MAX_SCOPES + 1);
        assert_eq!(parse([many.as_str()]), Err(ScopeError::TooMany));
    }

    proptest! {
        #[test]
        fn a_scope_reads_as_it_is_written(name in "[a-z][a-z/]{0,20}", pull: bool, push: bool, delete: bool) {
            let actions = Actions { pull, push, delete };
            let scope = Scope { resource: Resource::Repository(name), actions };
            prop_assert_eq!(Scope::parse(&scope.to_string()).unwrap(), Some(scope.clone()));
            prop_assert_eq!(Access::from(&scope).scope(), Some(scope));
        }

        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,80}") {
            let _either = parse([text.as_str()]);
        }
    }
}
