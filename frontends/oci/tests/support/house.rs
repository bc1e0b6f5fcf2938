//! The same tenants behind the embedded identity provider: real passwords, robots and tokens.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use http::header::WWW_AUTHENTICATE;
use strongroom_engine::access::{Action, Caller, Grant as Reaches, Origin, PrincipalId, Role};
use strongroom_engine::seam::{ManualClock, Seams, SystemEntropy, Timestamp};
use strongroom_http::auth::{Credentials, Secret};
use strongroom_identity::Embedded;
use strongroom_identity::account::{AccountId, Reach};
use strongroom_identity::embedded::{Grant, NAMESPACE, NewToken, Options};
use strongroom_identity::password::Cost;
use strongroom_identity::scope;
use strongroom_identity::seal::MasterKey;
use strongroom_oci::Settings;

use super::{Answer, Asking, World, known};

const PASSWORD: &str = "correct horse";
/// Where the robot's token reaches, and for what: less than its role.
pub(crate) const NARROW: (&str, [Action; 3]) =
    ("acme/main/api", [Action::List, Action::Pull, Action::Push]);

/// Whoever may come. All but `stranger`, who is the admin of `peer`, are of `acme` or of nowhere.
pub(crate) const CALLERS: [(&str, Option<Role>); 9] = [
    ("anonymous", None),
    ("stranger", None),
    ("nomad", None),
    ("viewer", Some(Role::Viewer)),
    ("writer", Some(Role::Writer)),
    ("admin", Some(Role::Admin)),
    ("narrow", Some(Role::Writer)),
    ("revoked", None),
    ("expired", None),
];

/// The world with its people, and the tokens of its robot.
pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) identity: Embedded,
    clock: Arc<ManualClock>,
    narrow: String,
}

fn operator() -> Caller {
    Caller { operator: true, ..known("operator") }
}

fn basic(name: &str, secret: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}"));
    format!("Basic {pair}")
}

fn id(text: &str) -> AccountId {
    text.parse().unwrap()
}

impl House {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
        let seams = Seams { clock: Arc::clone(&clock) as _, entropy: Arc::new(SystemEntropy) };
        let (engine, meta) = World::engine(seams.clone()).await;
        let mut options = Options::default();
        options.cost = Cost { memory: 8, passes: 1 };
        // Here nobody guesses, and many are refused.
        for allowance in
            [&mut options.guesses.pair, &mut options.guesses.address, &mut options.guesses.user]
        {
            allowance.burst = std::num::NonZeroU32::MAX;
            allowance.pause = Duration::from_nanos(1);
        }
        let records = engine.extension(NAMESPACE);
        let master = MasterKey::from_bytes([7; 32]);
        let identity = Embedded::open(records, seams, master, options).await.unwrap();
        for name in ["stranger", "nomad", "viewer", "writer", "admin"] {
            let id = id(&format!("user:{name}"));
            identity.create_user(&operator(), &id, PASSWORD, false).await.unwrap();
        }
        identity.create_robot(&operator(), &id("robot:ci")).await.unwrap();
        let (acme, robot) = ("acme".parse().unwrap(), PrincipalId::new("robot:ci").unwrap());
        engine.set_role(&known("admin"), &acme, &robot, None, Role::Writer).await.unwrap();
        let world = World::over(engine, meta, Arc::new(identity.clone()), Settings::default());
        let mut house = Self { world, identity, clock, narrow: String::new() };
        let place = super::path(NARROW.0);
        let grant = Reaches {
            organisation: Some(place.organisation().clone()),
            registry: Some(place.registry().clone()),
            repository: Some(place.repository().clone()),
            below: false,
            actions: NARROW.1.to_vec(),
        };
        house.narrow = house.token(Reach::Only(vec![grant]), None).await.1;
        house
    }

    /// A token of the robot: what it is called, and itself.
    pub(crate) async fn token(&self, reach: Reach, lifetime: Option<Duration>) -> (String, String) {
        self.token_of("robot:ci", reach, lifetime).await
    }

    async fn token_of(
        &self,
        owner: &str,
        reach: Reach,
        lifetime: Option<Duration>,
    ) -> (String, String) {
        let new = NewToken { owner: id(owner), label: "test".to_owned(), reach, lifetime };
        let (info, token) = self.identity.create_token(&operator(), new).await.unwrap();
        (info.id, token.expose().to_owned())
    }

    /// What somebody of [`CALLERS`] shows in the header: `by_token`, a token of the endpoint for
    /// `scope` (which was got while they still could), else what they have themselves.
    pub(crate) async fn authorization(
        &self,
        caller: &str,
        by_token: bool,
        scope: Option<&str>,
    ) -> Option<String> {
        let life = (caller == "expired").then_some(Duration::from_mins(1));
        let (name, (token, secret)) = match caller {
            "anonymous" => ("", (String::new(), String::new())),
            "narrow" => ("ci", (String::new(), self.narrow.clone())),
            "revoked" | "expired" => ("ci", self.token(Reach::Everything, life).await),
            user => (user, (String::new(), PASSWORD.to_owned())),
        };
        let credentials = match name {
            "" => Credentials::None,
            user => Credentials::Basic { user: user.to_owned(), password: Secret::new(&secret) },
        };
        let header = if by_token {
            let scopes = scope::parse(scope).unwrap();
            let grant = Grant::Credentials(credentials);
            let given = self.identity.exchange(&grant, &scopes, None, &Origin::default()).await;
            Some(format!("Bearer {}", given.unwrap().issued.token))
        } else {
            (!name.is_empty()).then(|| basic(name, &secret))
        };
        match caller {
            "revoked" => self.identity.revoke_token(&operator(), &token).await.unwrap(),
            "expired" => self.clock.advance(Duration::from_mins(1)),
            _ => {}
        }
        header
    }

    /// Each form in which somebody known of [`CALLERS`] can show who they are: what it is called, and the
    /// header. Tokens of the endpoint are for `scope`.
    pub(crate) async fn forms(
        &self,
        caller: &str,
        scope: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        let life = (caller == "expired").then_some(Duration::from_mins(1));
        let (name, password, (token, secret)) = match caller {
            "narrow" => ("ci", None, (String::new(), self.narrow.clone())),
            "revoked" | "expired" => ("ci", None, self.token(Reach::Everything, life).await),
            user => {
                let owner = format!("user:{user}");
                (user, Some(PASSWORD), self.token_of(&owner, Reach::Everything, None).await)
            }
        };
        let mut forms = vec![("token as bearer", format!("Bearer {secret}"))];
        let mut pairs = vec![
            ("token with its owner's name", name, &*secret),
            ("token with any name", "__token__", &*secret),
        ];
        pairs.extend(password.map(|password| ("password", name, password)));
        for (form, user, secret) in pairs {
            forms.push((form, basic(user, secret)));
            let credentials = Credentials::basic(user, secret).unwrap();
            let scopes = scope::parse(scope).unwrap();
            let grant = Grant::Credentials(credentials);
            let given = self.identity.exchange(&grant, &scopes, None, &Origin::default()).await;
            forms
                .push(("token of the endpoint", format!("Bearer {}", given.unwrap().issued.token)));
        }
        match caller {
            "revoked" => self.identity.revoke_token(&operator(), &token).await.unwrap(),
            "expired" => self.clock.advance(Duration::from_mins(1)),
            _ => {}
        }
        forms
    }

    /// Sends a request as somebody of [`CALLERS`], by what they have themselves.
    pub(crate) async fn ask(&self, asking: Asking<'_>, caller: &str) -> Answer {
        match self.authorization(caller, false, None).await {
            Some(header) => asking.header("authorization", header).send().await,
            None => asking.send().await,
        }
    }

    /// The scope that the challenge of a request without credentials names.
    pub(crate) async fn scope(asking: Asking<'_>) -> Option<String> {
        let answer = asking.send().await;
        let challenge = answer.headers.get(WWW_AUTHENTICATE)?.to_str().unwrap();
        let (_, scope) = challenge.split_once("scope=\"")?;
        Some(scope.trim_end_matches('"').to_owned())
    }
}
