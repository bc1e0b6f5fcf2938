//! Rules for runs of CI. Whether the caller may is asked by the room that keeps them, too.

use strongroom_engine::access::{Action, Caller};
use strongroom_identity::workload::{NewRule, Place, Rule};

use crate::Admin;
use crate::input::Input;
use crate::model::{NewWorkloadRule, WorkloadIssuer, WorkloadRule};
use crate::problem::{Kind, Problem};
use crate::registries::names;
use crate::reply::Reply;

impl Admin {
    pub(crate) fn list_workload_issuers(&self, input: &Input) -> Result<Reply, Problem> {
        let all = self.0.workloads.issuers().to_vec();
        Reply::cut::<_, WorkloadIssuer>(all, |issuer| issuer.name.clone(), input)
    }

    pub(crate) async fn list_workload_rules(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let all = self.0.workloads.list(caller, &place(input)?).await?;
        Reply::cut::<_, WorkloadRule>(all, |rule| rule.id.clone(), input)
    }

    pub(crate) async fn create_workload_rule(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let new: NewWorkloadRule = input.json()?;
        let Place { organisation, registry } = place(input)?;
        let new = NewRule {
            organisation,
            registry,
            issuer: new.issuer,
            audience: new.audience,
            claims: new.claims,
            repository: new.repository,
            actions: new.actions.into_iter().map(Action::from).collect(),
            lifetime_seconds: new.lifetime_seconds,
        };
        Ok(Reply::json(&WorkloadRule::from(self.0.workloads.add(caller, new).await?)))
    }

    pub(crate) async fn get_workload_rule(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (place, id) = (place(input)?, input.text("rule"));
        let all = self.0.workloads.list(caller, &place).await?;
        let rule: Option<Rule> = all.into_iter().find(|rule| rule.id == id);
        let rule =
            rule.ok_or_else(|| Problem::new(Kind::NotFound, format!("{place} has no such rule")))?;
        Ok(Reply::json(&WorkloadRule::from(rule)))
    }

    pub(crate) async fn delete_workload_rule(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        self.0.workloads.remove(caller, &place(input)?, input.text("rule")).await?;
        Ok(Reply::Empty)
    }
}

fn place(input: &Input) -> Result<Place, Problem> {
    let (organisation, registry) = names(input)?;
    Ok(Place { organisation, registry })
}
