//! Accounts that are kept here: one's own tokens, an organisation's robots, and the installation's
//! people.

use std::time::Duration;

use strongroom_engine::access::{Action, Caller, Grant};
use strongroom_engine::tenancy::Organisation;
use strongroom_identity::account::{
    AccountId, AccountName, Kind as Sort, Reach, TokenInfo, TokenUse,
};
use strongroom_identity::embedded;

use crate::Admin;
use crate::input::Input;
use crate::model::{
    Disabled, MAX_LIFE, MadeToken, NewRobot, NewToken, NewUser, Operates, Password, Robot, Token,
    User,
};
use crate::problem::{Kind, Problem};
use crate::reply::{Reply, demand_same, is_conditional};

/// A token as it is asked for.
fn token(owner: AccountId, new: NewToken) -> Result<embedded::NewToken, Problem> {
    let lifetime = match new.expires_in_seconds {
        Some(seconds) if !(1..=MAX_LIFE).contains(&seconds) => {
            let detail = format!("a token lives 1 to {MAX_LIFE} seconds");
            return Err(Problem::field("/expires_in_seconds", detail));
        }
        seconds => seconds.map(Duration::from_secs),
    };
    let reach = match new.grants {
        None => Reach::Everything,
        Some(grants) => Reach::Only(grants.into_iter().map(Grant::from).collect()),
    };
    Ok(embedded::NewToken { owner, label: new.label, reach, lifetime })
}

/// A page of tokens, in the order of their ids.
fn page(tokens: Vec<TokenInfo>, input: &Input) -> Result<Reply, Problem> {
    Reply::cut::<_, Token>(tokens, |token| token.id.clone(), input)
}

impl Admin {
    /// Whose tokens `caller`'s own are.
    fn own(caller: &Caller) -> Result<AccountId, Problem> {
        caller.principal.as_str().parse().map_err(|_not_ours| {
            let detail = "tokens are for accounts that are kept here, and yours is elsewhere";
            Problem::new(Kind::Forbidden, detail)
        })
    }

    pub(crate) async fn list_my_tokens(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        page(self.0.accounts.tokens(caller, &Self::own(caller)?, TokenUse::Access).await?, input)
    }

    pub(crate) async fn create_my_token(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let new = token(Self::own(caller)?, input.json()?)?;
        let (info, token) = self.0.accounts.create_token(caller, new).await?;
        Ok(Reply::json(&MadeToken { token: token.expose().to_owned(), info: info.into() }))
    }

    pub(crate) async fn revoke_my_token(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let own = Self::own(caller)?;
        self.0.accounts.revoke_token_of(caller, &own, input.text("token")).await?;
        Ok(Reply::Empty)
    }

    /// The organisation of a path, for whoever may look after its robots.
    async fn managed(&self, caller: &Caller, input: &Input) -> Result<Organisation, Problem> {
        let name = input.place("organisation")?;
        Ok(self.0.engine.organisation_for(caller, &name, Action::Manage).await?)
    }

    /// The same, and the robot that the path names.
    async fn robot(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<(Organisation, AccountId), Problem> {
        let organisation = self.managed(caller, input).await?;
        let id = AccountId::robot(input.place::<AccountName>("robot")?);
        self.0.accounts.robot_of(&organisation, &id).await?;
        Ok((organisation, id))
    }

    pub(crate) async fn list_robots(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (organisation, after) = (self.managed(caller, input).await?, input.cursor()?);
        let accounts = &self.0.accounts;
        let page = accounts.robots_of(&organisation, after.as_deref(), input.limit()).await?;
        Ok(Reply::page::<_, Robot>(page))
    }

    pub(crate) async fn create_robot(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let NewRobot { name } = input.json()?;
        let organisation = self.managed(caller, input).await?;
        let made = self.0.accounts.create_robot_of(caller, &organisation, &name).await?;
        Ok(Reply::json(&Robot::from(made)))
    }

    pub(crate) async fn get_robot(&self, caller: &Caller, input: &Input) -> Result<Reply, Problem> {
        let (organisation, id) = self.robot(caller, input).await?;
        let robot = self.0.accounts.robot_of(&organisation, &id).await?;
        Ok(Reply::json(&Robot::from(robot)))
    }

    /// The robot of a path, where it is what the request is for.
    async fn same_robot(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<(Organisation, AccountId), Problem> {
        let (organisation, id) = self.robot(caller, input).await?;
        if is_conditional(&input.headers) {
            let now = self.0.accounts.robot_of(&organisation, &id).await?;
            demand_same(&input.headers, &Robot::from(now))?;
        }
        Ok((organisation, id))
    }

    pub(crate) async fn disable_robot(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let Disabled { disabled } = input.json()?;
        let (organisation, id) = self.same_robot(caller, input).await?;
        let accounts = &self.0.accounts;
        let set = accounts.set_robot_disabled(caller, &organisation, &id, disabled).await?;
        Ok(Reply::json(&Robot::from(set)))
    }

    pub(crate) async fn delete_robot(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (organisation, id) = self.same_robot(caller, input).await?;
        self.0.accounts.delete_robot_of(caller, &organisation, &id).await?;
        Ok(Reply::Empty)
    }

    pub(crate) async fn list_robot_tokens(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (organisation, id) = self.robot(caller, input).await?;
        page(self.0.accounts.robot_tokens(&organisation, &id).await?, input)
    }

    pub(crate) async fn create_robot_token(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let new = input.json()?;
        let (organisation, id) = self.robot(caller, input).await?;
        let made = self.0.accounts.create_robot_token(caller, &organisation, token(id, new)?).await;
        let (info, token) = made?;
        Ok(Reply::json(&MadeToken { token: token.expose().to_owned(), info: info.into() }))
    }

    pub(crate) async fn revoke_robot_token(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (organisation, id) = self.robot(caller, input).await?;
        let token = input.text("token");
        self.0.accounts.revoke_robot_token(caller, &organisation, &id, token).await?;
        Ok(Reply::Empty)
    }

    pub(crate) async fn list_users(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let after = input.cursor()?;
        let accounts = &self.0.accounts;
        let page = accounts.accounts(caller, Sort::User, after.as_deref(), input.limit()).await?;
        Ok(Reply::page::<_, User>(page))
    }

    pub(crate) async fn create_user(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let NewUser { name, password, operator } = input.json()?;
        let name: AccountName = name.parse().map_err(embedded::AccountsError::from)?;
        let id = AccountId::user(name);
        let made = self.0.accounts.create_user(caller, &id, &password, operator).await?;
        Ok(Reply::json(&User::from(made)))
    }

    fn user(input: &Input) -> Result<AccountId, Problem> {
        Ok(AccountId::user(input.place::<AccountName>("user")?))
    }

    pub(crate) async fn get_user(&self, caller: &Caller, input: &Input) -> Result<Reply, Problem> {
        let user = self.0.accounts.look_up(caller, &Self::user(input)?).await?;
        Ok(Reply::json(&User::from(user)))
    }

    /// The user of a path, where they are what the request is for.
    async fn same_user(&self, caller: &Caller, input: &Input) -> Result<AccountId, Problem> {
        let id = Self::user(input)?;
        let now = self.0.accounts.look_up(caller, &id).await?;
        demand_same(&input.headers, &User::from(now))?;
        Ok(id)
    }

    pub(crate) async fn disable_user(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let Disabled { disabled } = input.json()?;
        let id = self.same_user(caller, input).await?;
        let set = self.0.accounts.set_disabled(caller, &id, disabled).await?;
        Ok(Reply::json(&User::from(set)))
    }

    pub(crate) async fn set_operator(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let Operates { operator } = input.json()?;
        let id = self.same_user(caller, input).await?;
        let set = self.0.accounts.set_operator(caller, &id, operator).await?;
        Ok(Reply::json(&User::from(set)))
    }

    pub(crate) async fn set_password(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let Password { password } = input.json()?;
        let id = self.same_user(caller, input).await?;
        let set = self.0.accounts.set_password(caller, &id, &password).await?;
        Ok(Reply::json(&User::from(set)))
    }

    pub(crate) async fn delete_user(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let id = self.same_user(caller, input).await?;
        self.0.accounts.delete_account(caller, &id).await?;
        Ok(Reply::Empty)
    }
}
