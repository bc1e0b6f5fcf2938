//! Who is a member of what, both ways; and the frontends' records, which are opaque here.

use super::tenants::text;
use super::{Check, Domain, Invariant};
use crate::access::Role;
use crate::error::Error;
use crate::gc::walk::Pages;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{Row, prefix_range};
use crate::records::{Life, MemberRecord, OrganisationRecord};

impl Check<'_> {
    pub(super) async fn member_row(&mut self, domain: &mut Domain, row: &Row) -> Result<(), Error> {
        let principal = text(row.0.get(10..));
        if let Some(member) = self.decode::<MemberRecord>(Invariant::I4, domain.id, row) {
            domain.admins += u32::from(member.role == Some(Role::Admin));
        }
        if !self.has(&keys::membership(&principal, domain.id)).await? {
            let what = format!("member {principal} does not find the organisation");
            self.find(Invariant::I4, Some(domain.id), what);
        }
        Ok(())
    }

    /// The organisations that principals are said to be members of.
    pub(super) async fn memberships(&mut self) -> Result<(), Error> {
        let mut pages = Pages::new(self.view, prefix_range(b"p"));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, _) in rows {
                self.report.counts.rows += 1;
                let split = key.split_last_chunk::<8>();
                let principal = split.and_then(|(rest, _)| rest.get(1..)?.strip_suffix(&[0]));
                let (Some(principal), Some(id)) = (principal, keys::last_number(&key)) else {
                    let what = format!("row {} is no membership", const_hex::encode(&key));
                    self.find(Invariant::I4, None, what);
                    continue;
                };
                let (id, principal) = (OrganisationId(id), text(Some(principal)));
                let record: Option<OrganisationRecord> = self.get(&keys::organisation(id)).await?;
                // Of one that is being deleted, rows go in steps.
                let going = record.is_some_and(|record| record.life == Life::Deleting);
                if !going && !self.has(&keys::member(id, &principal)).await? {
                    let what = format!("{principal} is listed as a member and is none");
                    self.find(Invariant::I4, Some(id), what);
                }
            }
        }
    }

    /// What frontends keep: that each record is in a namespace is all that is known here.
    pub(super) async fn extensions(&mut self) -> Result<(), Error> {
        let mut pages = Pages::new(self.view, prefix_range(b"x"));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, _) in rows {
                self.report.counts.rows += 1;
                self.report.counts.extension_records += 1;
                let namespace = key.get(1..).and_then(|rest| rest.split(|byte| *byte == 0).next());
                let named = namespace.is_some_and(|name| {
                    !name.is_empty() && name.len() + 1 < key.len() && name.is_ascii()
                });
                if !named {
                    let what = format!("row {} is in no namespace", const_hex::encode(&key));
                    self.find(Invariant::I4, None, what);
                }
            }
        }
    }
}
