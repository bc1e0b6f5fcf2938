//! What somebody's first organisation may be called: as they are, or nearly.

use sha2::{Digest as _, Sha256};
use strongroom_engine::name::OrganisationName;

use super::NewUser;

/// How much of somebody's name is taken, so that there is room for what makes it unique.
const MAX_BASE: usize = 40;
/// How many names end in a number before they end in chance.
const NUMBERED: u32 = 4;

/// The name that is tried as number `attempt`, from 0; none where there are no more. The last ones hold
/// a hash of the person's id, so that nobody can take all of them before.
pub(super) fn candidate(user: &NewUser, attempt: u32) -> Option<OrganisationName> {
    let base = base(user);
    let hash = hash(&user.sub);
    let name = match attempt {
        0 => base,
        1..NUMBERED => format!("{base}-{}", attempt + 1),
        NUMBERED => format!("{base}-{}", hash.get(..8)?),
        5 => format!("{base}-{}", hash.get(..16)?),
        _ => return None,
    };
    name.parse().ok()
}

fn base(user: &NewUser) -> String {
    // A pool whose people sign in by e-mail calls them by their id.
    let named = if user.username == user.sub {
        user.email.as_deref().unwrap_or_default()
    } else {
        &user.username
    };
    let local = named.split_once('@').map_or(named, |(local, _)| local);
    let base = slug(local);
    if base.is_empty() { "user".to_owned() } else { base }
}

/// Letters and digits as they are, and one dash for all that stands between them.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= MAX_BASE {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

fn hash(sub: &str) -> String {
    let hash = Sha256::digest(sub.as_bytes());
    let first = hash.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(username: &str, email: Option<&str>) -> Vec<String> {
        let user = NewUser {
            sub: "0f-1".to_owned(),
            username: username.to_owned(),
            email: email.map(str::to_owned),
            email_verified: true,
        };
        (0..).map_while(|attempt| candidate(&user, attempt)).map(|name| name.to_string()).collect()
    }

    #[test]
    fn names_are_made_of_what_people_are_called() {
        for (username, email, first) in [
            ("jo", None, "jo"),
            ("Jo.Doe@acme.example", None, "jo-doe"),
            ("0f-1", Some("ann@acme.example"), "ann"),
            ("0f-1", None, "user"),
            ("..Ä__", None, "user"),
            ("-a--_b-", None, "a-b"),
        ] {
            assert_eq!(names(username, email)[0], first, "{username}");
        }
        let long = names(&"long.".repeat(100), None);
        assert_eq!(long.len(), 6);
        assert!(long.iter().all(|name| name.len() <= 64), "{long:?}");
        assert_eq!(names("jo", None)[1..4], ["jo-2", "jo-3", "jo-4"]);
    }
}
