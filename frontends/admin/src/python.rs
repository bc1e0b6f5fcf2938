//! Python projects: yanked, marked and deleted; and the index that a registry fetches from.

use strongroom_engine::access::Caller;
use strongroom_http::auth::Secret;
use strongroom_pypi::manage::Files;
use strongroom_pypi::upstream::{NewUpstream, Upstream};

use crate::Admin;
use crate::gate::{place, python};
use crate::input::Input;
use crate::model::{
    NewPythonUpstream, PythonProject, PythonUpstream, SetPythonLocations, SetPythonStatus,
    SetYanked,
};
use crate::problem::Problem;
use crate::reply::{Reply, demand_same, is_conditional};

/// The longest reason, in bytes: it is sent with each page.
const MAX_REASON: usize = 1_024;
/// The most addresses of one kind.
const MAX_ADDRESSES: usize = 32;

impl Admin {
    pub(crate) async fn get_python_upstream(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let set = self.0.upstreams.get(caller, &place(input)?).await?;
        Ok(Reply::json(&PythonUpstream::from(set)))
    }

    /// The upstream, where the request is for what it was.
    async fn same_upstream(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Option<Upstream>, Problem> {
        if !is_conditional(&input.headers) {
            return Ok(None);
        }
        let now = self.0.upstreams.get(caller, &place(input)?).await?;
        demand_same(&input.headers, &PythonUpstream::from(now.clone()))?;
        Ok(Some(now))
    }

    pub(crate) async fn set_python_upstream(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let new: NewPythonUpstream = input.json()?;
        let expected = self.same_upstream(caller, input).await?;
        let new = NewUpstream {
            url: new.url,
            allow: new.allow,
            deny: new.deny,
            cool_down_days: new.cool_down_days,
            fresh_seconds: new.fresh_seconds,
            username: new.username,
            password: new.password.map(Secret::new),
        };
        let set = self.0.upstreams.set(caller, &place(input)?, &new, expected.as_ref()).await?;
        Ok(Reply::json(&PythonUpstream::from(set)))
    }

    pub(crate) async fn remove_python_upstream(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let expected = self.same_upstream(caller, input).await?;
        self.0.upstreams.remove(caller, &place(input)?, expected.as_ref()).await?;
        Ok(Reply::Empty)
    }

    async fn python_project(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<PythonProject, Problem> {
        let (place, project) = python(input)?;
        Ok(self.0.python.project(caller, (&place, &project)).await?.into())
    }

    /// Fails where the request is for what the project was, and it is not that any more.
    async fn same_project(&self, caller: &Caller, input: &Input) -> Result<(), Problem> {
        if is_conditional(&input.headers) {
            demand_same(&input.headers, &self.python_project(caller, input).await?)?;
        }
        Ok(())
    }

    pub(crate) async fn get_python_project(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        Ok(Reply::json(&self.python_project(caller, input).await?))
    }

    pub(crate) async fn set_python_status(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let SetPythonStatus { status, reason } = input.json()?;
        let reason = short(reason)?;
        self.same_project(caller, input).await?;
        let (place, project) = python(input)?;
        let of = (&place, &project);
        self.0.python.set_status(caller, of, status.into(), reason.as_deref()).await?;
        self.get_python_project(caller, input).await
    }

    pub(crate) async fn set_python_locations(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let SetPythonLocations { tracks, alternate_locations } = input.json()?;
        for (pointer, addresses) in
            [("/tracks", &tracks), ("/alternate_locations", &alternate_locations)]
        {
            if addresses.len() > MAX_ADDRESSES {
                let detail = format!("there are at most {MAX_ADDRESSES} addresses");
                return Err(Problem::field(pointer, detail));
            }
        }
        self.same_project(caller, input).await?;
        let (place, project) = python(input)?;
        let of = (&place, &project);
        self.0.python.set_locations(caller, of, &tracks, &alternate_locations).await?;
        self.get_python_project(caller, input).await
    }

    pub(crate) async fn yank_python(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let SetYanked { yanked, reason } = input.json()?;
        let reason = short(reason)?.unwrap_or_default();
        self.same_project(caller, input).await?;
        let ((place, project), files) = (python(input)?, files(input)?);
        let (of, manager) = ((&place, &project), &self.0.python);
        if yanked {
            manager.yank(caller, of, &files, &reason).await?;
        } else {
            manager.unyank(caller, of, &files).await?;
        }
        self.get_python_project(caller, input).await
    }

    pub(crate) async fn delete_python(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        self.same_project(caller, input).await?;
        let ((place, project), files) = (python(input)?, files(input)?);
        self.0.python.delete(caller, (&place, &project), &files).await?;
        Ok(Reply::Empty)
    }
}

/// The files that a path names: one, those of a version, or all of the project.
fn files(input: &Input) -> Result<Files, Problem> {
    if input.has("file") {
        return Ok(Files::Name(input.text("file").to_owned()));
    }
    if input.has("version") {
        return Ok(Files::Version(input.place("version")?));
    }
    Ok(Files::All)
}

fn short(reason: Option<String>) -> Result<Option<String>, Problem> {
    match reason {
        Some(reason) if reason.len() > MAX_REASON || reason.chars().any(char::is_control) => {
            let detail = format!("a reason is one line of at most {MAX_REASON} bytes");
            Err(Problem::field("/reason", detail))
        }
        reason => Ok(reason),
    }
}
