//! Verbs on people, machines and their tokens.

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom_engine::access::Grant;
use strongroom_identity::account::{
    Account, AccountId, AccountName, Kind, Reach, TokenInfo, TokenUse,
};
use strongroom_identity::embedded::NewToken;

use super::args::{Can, Place};
use super::table::{table, time};
use super::{Hidden, Outcome};
use crate::app::{App, console};
use crate::config::Span;
use crate::failure::Failure;
use crate::password;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum UserVerb {
    /// Create somebody; the password is generated and shown once, unless it comes from standard input
    Create {
        name: AccountName,
        /// Let them operate the installation: users, collection, the system's audit
        #[arg(long)]
        operator: bool,
        /// Take the password from the first line of standard input
        #[arg(long)]
        #[serde(skip)]
        password_stdin: bool,
        #[arg(skip)]
        password: Option<Hidden>,
    },
    /// List everybody
    List,
    /// Shut somebody out at once, tokens included
    Disable { name: AccountName },
    /// Let somebody in again
    Enable { name: AccountName },
    /// Delete somebody for ever; the name stays reserved
    Delete { name: AccountName },
    /// Set another password, generated and shown once, unless it comes from standard input
    ResetPassword {
        name: AccountName,
        /// Take the password from the first line of standard input
        #[arg(long)]
        #[serde(skip)]
        password_stdin: bool,
        #[arg(skip)]
        password: Option<Hidden>,
    },
    /// Let somebody operate the installation
    Promote { name: AccountName },
    /// Take operating the installation from somebody
    Demote { name: AccountName },
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RobotVerb {
    /// Create a machine's account; give it a role with `org grant`, and a token with `token create`
    Create { name: AccountName },
    /// List all of them
    List,
    /// Shut it out at once
    Disable { name: AccountName },
    /// Let it in again
    Enable { name: AccountName },
    /// Delete it for ever, with its tokens; the name stays reserved
    Delete { name: AccountName },
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum TokenVerb {
    /// Make a token, which is shown this once
    ///
    /// It can do no more than its owner, and with --for no more than --can at that place.
    Create {
        /// Whose: user:NAME or robot:NAME
        owner: AccountId,
        /// What it is for, in your words
        #[arg(long, default_value = "")]
        label: String,
        /// Where it reaches, as ORGANISATION[/REGISTRY[/REPOSITORY]]; may be given again
        #[arg(long = "for", value_name = "PLACE")]
        places: Vec<Place>,
        /// What it may do there; may be given again [default: pull]
        #[arg(long, requires = "places", value_enum)]
        can: Vec<Can>,
        /// When it ends, as 12h or 90d; never where absent
        #[arg(long, value_name = "TIME")]
        expires_in: Option<Span>,
    },
    /// List the tokens of somebody
    List {
        /// Whose: user:NAME or robot:NAME
        owner: AccountId,
        /// Also the refresh tokens that clients were given at sign-in: who is signed in where
        #[arg(long)]
        #[serde(default)]
        refresh: bool,
    },
    /// End a token at once
    Revoke {
        /// What `token list` calls it
        id: String,
    },
}

/// How many accounts are read at once.
const PAGE: usize = 500;

pub(super) async fn user(app: &App, verb: UserVerb) -> Result<Outcome, Failure> {
    let (by, identity) = (console(), &app.identity);
    match verb {
        UserVerb::Create { name, operator, password, .. } => {
            let id = AccountId::user(name);
            let (password, generated) = chosen(app, password);
            let account = identity.create_user(&by, &id, &password.0, operator).await?;
            Ok(with_password("is created", &account, generated))
        }
        UserVerb::ResetPassword { name, password, .. } => {
            let id = AccountId::user(name);
            let (password, generated) = chosen(app, password);
            let account = identity.set_password(&by, &id, &password.0).await?;
            Ok(with_password("has a new password", &account, generated))
        }
        UserVerb::List => list(app, Kind::User).await,
        UserVerb::Disable { name } => disable(app, &AccountId::user(name), true).await,
        UserVerb::Enable { name } => disable(app, &AccountId::user(name), false).await,
        UserVerb::Delete { name } => delete(app, &AccountId::user(name)).await,
        UserVerb::Promote { name } => operate(app, &AccountId::user(name), true).await,
        UserVerb::Demote { name } => operate(app, &AccountId::user(name), false).await,
    }
}

pub(super) async fn robot(app: &App, verb: RobotVerb) -> Result<Outcome, Failure> {
    match verb {
        RobotVerb::Create { name } => {
            let id = AccountId::robot(name);
            let account = app.identity.create_robot(&console(), &id).await?;
            Ok(told("is created", &account))
        }
        RobotVerb::List => list(app, Kind::Robot).await,
        RobotVerb::Disable { name } => disable(app, &AccountId::robot(name), true).await,
        RobotVerb::Enable { name } => disable(app, &AccountId::robot(name), false).await,
        RobotVerb::Delete { name } => delete(app, &AccountId::robot(name)).await,
    }
}

pub(super) async fn token(app: &App, verb: TokenVerb) -> Result<Outcome, Failure> {
    let (by, identity) = (console(), &app.identity);
    match verb {
        TokenVerb::Create { owner, label, places, can, expires_in } => {
            let lifetime = expires_in.map(Span::duration);
            let new = NewToken { owner, label, reach: reach(places, &can), lifetime };
            let (info, token) = identity.create_token(&by, new).await?;
            let text =
                format!("{}    (shown this once; revoke it as {})\n", token.expose(), info.id);
            let mut json = json!(info);
            if let Some(fields) = json.as_object_mut() {
                fields.insert("token".to_owned(), token.expose().into());
            }
            Ok(Outcome::new(text, json))
        }
        TokenVerb::List { owner, refresh } => {
            let uses: &[TokenUse] =
                if refresh { &[TokenUse::Access, TokenUse::Refresh] } else { &[TokenUse::Access] };
            let mut tokens = Vec::new();
            for used_for in uses {
                tokens.extend(identity.tokens(&by, &owner, *used_for).await?);
            }
            let rows: Vec<_> = tokens.iter().map(row).collect();
            let text = table(&["ID", "FOR", "LABEL", "REACH", "CREATED", "EXPIRES"], &rows);
            Ok(Outcome::new(text, json!(tokens)))
        }
        TokenVerb::Revoke { id } => {
            identity.revoke_token(&by, &id).await?;
            Ok(Outcome::new(format!("token {id} is revoked\n"), json!({ "revoked": id })))
        }
    }
}

fn reach(places: Vec<Place>, can: &[Can]) -> Reach {
    if places.is_empty() {
        return Reach::Everything;
    }
    let can = if can.is_empty() { &[Can::Pull] } else { can };
    let actions: Vec<_> = can.iter().flat_map(|can| can.actions()).copied().collect();
    let grants = places.into_iter().map(|place| Grant {
        organisation: Some(place.organisation),
        registry: place.registry,
        repository: place.repository,
        below: false,
        actions: actions.clone(),
    });
    Reach::Only(grants.collect())
}

fn row(token: &TokenInfo) -> Vec<String> {
    let reach = match &token.reach {
        Reach::Everything => "everything".to_owned(),
        Reach::Only(grants) => grants.iter().map(place).collect::<Vec<_>>().join(" "),
    };
    let expires = token.expires_at.map_or_else(|| "never".to_owned(), time);
    let used_for = match token.used_for {
        TokenUse::Access => "access",
        TokenUse::Refresh => "refresh",
    };
    let (id, label) = (token.id.clone(), token.label.clone());
    vec![id, used_for.to_owned(), label, reach, time(token.created_at), expires]
}

fn place(grant: &Grant) -> String {
    let parts = [
        grant.organisation.as_ref().map(ToString::to_string),
        grant.registry.as_ref().map(ToString::to_string),
        grant.repository.as_ref().map(ToString::to_string),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// The password somebody chose, or a new one with what to show of it.
fn chosen(app: &App, password: Option<Hidden>) -> (Hidden, Option<Hidden>) {
    if let Some(password) = password {
        return (password, None);
    }
    let new = Hidden(password::generate(&*app.seams.entropy).expose().to_owned());
    (new.clone(), Some(new))
}

fn with_password(what: &str, account: &Account, generated: Option<Hidden>) -> Outcome {
    let mut outcome = told(what, account);
    if let Some(Hidden(password)) = generated {
        outcome.text = format!("{}password: {password}    (shown this once)\n", outcome.text);
        if let Some(fields) = outcome.json.as_object_mut() {
            fields.insert("password".to_owned(), password.into());
        }
    }
    outcome
}

fn told(what: &str, account: &Account) -> Outcome {
    Outcome::new(format!("{} {what}\n", account.id), json!(account))
}

async fn list(app: &App, kind: Kind) -> Result<Outcome, Failure> {
    let mut accounts = Vec::new();
    let mut after = None;
    loop {
        let page = app.identity.accounts(&console(), kind, after.as_deref(), PAGE).await?;
        accounts.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let rows: Vec<_> = accounts
        .iter()
        .map(|account| {
            let state = if account.disabled { "disabled" } else { "active" };
            let operator = if account.operator { "operator" } else { "" };
            let name = account.id.name.to_string();
            vec![name, state.to_owned(), operator.to_owned(), time(account.created_at)]
        })
        .collect();
    Ok(Outcome::new(table(&["NAME", "STATE", "", "CREATED"], &rows), json!(accounts)))
}

async fn disable(app: &App, id: &AccountId, disabled: bool) -> Result<Outcome, Failure> {
    let account = app.identity.set_disabled(&console(), id, disabled).await?;
    Ok(told(if disabled { "is disabled" } else { "is enabled" }, &account))
}

async fn operate(app: &App, id: &AccountId, operator: bool) -> Result<Outcome, Failure> {
    let account = app.identity.set_operator(&console(), id, operator).await?;
    Ok(told(if operator { "is an operator" } else { "is no operator" }, &account))
}

async fn delete(app: &App, id: &AccountId) -> Result<Outcome, Failure> {
    app.identity.delete_account(&console(), id).await?;
    Ok(Outcome::new(format!("{id} is deleted\n"), json!({ "deleted": id })))
}
