//! Webhooks of a registry. Whether the caller may is asked by the room that keeps them, too.

use strongroom_engine::Page;
use strongroom_engine::access::Caller;
use strongroom_webhooks::{Change, Hook, HookId, NewHook};

use crate::Admin;
use crate::input::Input;
use crate::model::{Delivery, MadeWebhook, NewWebhook, Webhook, WebhookChange, WebhookSecret};
use crate::problem::{Kind, Problem};
use crate::registries::names;
use crate::reply::{Reply, demand_same, is_conditional};

impl Admin {
    pub(crate) async fn list_webhooks(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (organisation, registry) = names(input)?;
        let all = self.0.webhooks.list(caller, &organisation, &registry).await?;
        Reply::cut::<_, Webhook>(all, |hook| hook.id.to_string(), input)
    }

    pub(crate) async fn create_webhook(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let NewWebhook { url, events } = input.json()?;
        let (organisation, registry) = names(input)?;
        let new = NewHook { url, events };
        let (hook, secret) = self.0.webhooks.create(caller, &organisation, &registry, new).await?;
        let secret = secret.expose().to_owned();
        Ok(Reply::json(&MadeWebhook { secret, info: hook.into() }))
    }

    /// The webhook that the path names.
    async fn webhook(&self, caller: &Caller, input: &Input) -> Result<Hook, Problem> {
        let (organisation, registry) = names(input)?;
        let id: HookId = input.place("webhook")?;
        let all = self.0.webhooks.list(caller, &organisation, &registry).await?;
        all.into_iter().find(|hook| hook.id == id).ok_or_else(|| {
            Problem::new(Kind::NotFound, format!("{organisation}/{registry} has no webhook {id}"))
        })
    }

    /// Its id, where it is what the request is for.
    async fn same_webhook(&self, caller: &Caller, input: &Input) -> Result<HookId, Problem> {
        if is_conditional(&input.headers) {
            let now = Webhook::from(self.webhook(caller, input).await?);
            demand_same(&input.headers, &now)?;
        }
        input.place("webhook")
    }

    pub(crate) async fn get_webhook(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        Ok(Reply::json(&Webhook::from(self.webhook(caller, input).await?)))
    }

    pub(crate) async fn update_webhook(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let WebhookChange { url, events, enabled } = input.json()?;
        let id = self.same_webhook(caller, input).await?;
        let ((organisation, registry), change) = (names(input)?, Change { url, events, enabled });
        let webhooks = &self.0.webhooks;
        let set = webhooks.update(caller, &organisation, &registry, id, change).await?;
        Ok(Reply::json(&Webhook::from(set)))
    }

    pub(crate) async fn rotate_webhook_secret(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let ((organisation, registry), id) = (names(input)?, input.place("webhook")?);
        let secret = self.0.webhooks.rotate_secret(caller, &organisation, &registry, id).await?;
        Ok(Reply::json(&WebhookSecret { secret: secret.expose().to_owned() }))
    }

    pub(crate) async fn delete_webhook(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let id = self.same_webhook(caller, input).await?;
        let (organisation, registry) = names(input)?;
        self.0.webhooks.delete(caller, &organisation, &registry, id).await?;
        Ok(Reply::Empty)
    }

    pub(crate) async fn test_webhook(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let ((organisation, registry), id) = (names(input)?, input.place("webhook")?);
        let tried = self.0.webhooks.test(caller, &organisation, &registry, id).await?;
        Ok(Reply::json(&Delivery::from(tried)))
    }

    pub(crate) async fn list_deliveries(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let ((organisation, registry), id) = (names(input)?, input.place("webhook")?);
        let items = self.0.webhooks.deliveries(caller, &organisation, &registry, id).await?;
        Ok(Reply::page::<_, Delivery>(Page { items, next: None }))
    }
}
