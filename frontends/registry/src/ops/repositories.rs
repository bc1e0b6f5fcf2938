//! Verbs on the repositories of a registry.

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine::tenancy::RepositoryFilter;

use super::Outcome;
use super::args::{FullName, RegistryPath};
use super::table::{table, time};
use super::tenants::PAGE;
use crate::app::{App, console};
use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RepositoryVerb {
    /// List the repositories of a registry
    List {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        /// Only those whose name begins so
        #[arg(long)]
        prefix: Option<String>,
        /// Only those whose name has this in it
        #[arg(long)]
        contains: Option<String>,
    },
    /// Delete a repository for ever, immutable tags too; its name may be used again
    Delete {
        /// ORGANISATION/REGISTRY/REPOSITORY
        path: FullName,
    },
}

pub(super) async fn repository(app: &App, verb: RepositoryVerb) -> Result<Outcome, Failure> {
    let (by, engine) = (console(), &app.engine);
    match verb {
        RepositoryVerb::List { path, prefix, contains } => {
            let RegistryPath { organisation, registry } = &path;
            let filter = RepositoryFilter { prefix, contains };
            let (mut all, mut rows): (Vec<Value>, Vec<_>) = (Vec::new(), Vec::new());
            let mut after = None;
            let listing = engine.listing(&by, organisation, registry).await?;
            loop {
                let page = listing.infos(&filter, after.as_deref(), PAGE).await?;
                for item in page.items {
                    let name = format!("{path}/{}", item.name);
                    rows.push(vec![name, time(item.created_at)]);
                    all.push(json!({
                        "id": item.id,
                        "name": item.name,
                        "created_at": time(item.created_at),
                    }));
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            Ok(Outcome::new(table(&["NAME", "CREATED"], &rows), all.into()))
        }
        RepositoryVerb::Delete { path: FullName(path) } => {
            engine.delete_repository(&by, &path).await?;
            let json = json!({ "deleted": path.to_string() });
            Ok(Outcome::new(format!("{path} is deleted\n"), json))
        }
    }
}
