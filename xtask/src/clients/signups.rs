//! From a sign-up to an organisation: a user pool and queues (moto's), the Lambda's own program under a
//! runtime API, and the server that reads the queue; then the same by a worker of its own, beside nodes that
//! share a bucket and a database.

use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use strongroom_servers::{Bucket, REGION, wait};
use ureq::SendBody;

use super::Scene;
use crate::http::{Client, expect};
use crate::lambda::{self, Answer, Lambda};
use crate::registry::{Registry, Setup};
use crate::servers::{self, Moto};

const COGNITO: &str = "AWSCognitoIdentityProviderService";
const PASSWORD: &str = "Only-4-this-test";
/// How long anything here may take to be seen: a message that was handed to a server as it ended comes
/// again after a minute.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a server waits at the queue; the queue may wait so long for one that is gone.
const POLL: Duration = Duration::from_secs(2);
/// How many sign up at once when the server is killed.
const CROWD: usize = 12;

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let town = Town::new()?;
    let program = lambda::build()?;
    let lambda = Lambda::start(&program, &town.variables(&town.moto.url()))?;

    // Nobody hears yet, so what is sent stays to be counted.
    let ann = town.sign_up("ann")?;
    let event = town.event("PostConfirmation_ConfirmSignUp", &ann)?;
    let forgotten = town.event("PostConfirmation_ConfirmForgotPassword", &ann)?;
    ensure!(lambda.invoke(&forgotten)? == Answer::Done(forgotten), "the event was not given back");
    ensure!(town.waiting()? == 0, "a forgotten password is no sign-up");
    ensure!(lambda.invoke(&event)? == Answer::Done(event.clone()), "the event was not given back");
    ensure!(town.waiting()? == 1, "the sign-up is not in the queue");
    let foreign = town.event("PreSignUp_SignUp", &ann)?;
    match lambda.invoke(&foreign)? {
        Answer::Failed(message) => {
            super::contains(&message, "PreSignUp_SignUp is another trigger's")?;
        }
        done @ Answer::Done(_) => bail!("another trigger's event was taken: {done:?}"),
    }

    // A queue that is away keeps nobody from signing up.
    let away = Lambda::start(&program, &town.variables("http://127.0.0.1:9"))?;
    let bob = town.sign_up("bob")?;
    let lost = town.event("PostConfirmation_ConfirmSignUp", &bob)?;
    ensure!(away.invoke(&lost)? == Answer::Done(lost), "the event was not given back");
    drop(away);

    // By messages alone: nothing walks through the pool.
    let (data, log) = (scene.path("signups"), scene.path("signups.log"));
    let setup = |walks: &str| {
        let setup = town.setup(town.people(Setup::default()));
        setup.with("STRONGROOM_SIGNUPS_RECONCILE_INTERVAL", walks)
    };
    let mut server = Registry::start_with(&scene.program, &data, &log, setup("0s"))?;
    let done = by_messages(&town, &server, &lambda, &ann, &event)
        .and_then(|()| server.kill())
        .and_then(|()| {
            server = Registry::start_with(&scene.program, &data, &log, setup("1s"))?;
            by_walks(&town, &mut server, &bob)
        })
        .and_then(|()| shut_out(&town, &server, &ann))
        .and_then(|()| server.stop());
    done.with_context(|| format!("the server's last words:\n{}", server.last_words()))?;
    server.verb(&["fsck"])?;
    by_itself(scene, &town)
}

/// What the queue brings: an organisation, dead letters, and nothing twice.
fn by_messages(
    town: &Town,
    server: &Registry,
    lambda: &Lambda,
    ann: &Person,
    event: &Value,
) -> Result<()> {
    until("an organisation of who signed up", || Ok(ann.organisations(server)? == ["ann"]))?;
    let role = server.output(&["org", "members", "ann", "--json"])?;
    let role: Value = serde_json::from_str(&role)?;
    ensure!(role[0]["role"] == "admin" && role[1].is_null(), "not its only admin: {role}");
    for _ in 0..3 {
        lambda.invoke(event)?;
    }
    town.send("poison")?;
    until("three messages more", || Ok(counted(server, "done")? == 4))?;
    ensure!(ann.organisations(server)? == ["ann"], "it was made twice");
    let dead = until_some("a dead letter", || town.dead_letter())?;
    ensure!(dead["Body"] == "poison", "another dead letter: {dead}");
    let reason = dead["MessageAttributes"]["reason"]["StringValue"].as_str().unwrap_or_default();
    super::contains(reason, "it is no sign-up")?;
    ensure!(counted(server, "buried")? == 1 && town.waiting()? == 0, "something is left");
    Ok(())
}

/// What no message tells: those whom an administrator created, whose message was lost, and who signed up
/// when the server was killed; and nobody else.
fn by_walks(town: &Town, server: &mut Registry, bob: &Person) -> Result<()> {
    let (shut, unsure) = (town.create("shut")?, town.sign_up_only("unsure")?);
    town.call("AdminDisableUser", &json!({ "UserPoolId": town.pool, "Username": "shut" }))?;
    let kim = town.create("kim")?;
    for person in [&kim, bob] {
        until(&person.name, || Ok(person.organisations(server)? == [person.name.as_str()]))?;
    }
    for person in [&shut, &unsure] {
        ensure!(person.organisations(server)?.is_empty(), "{} has one", person.name);
    }
    let crowd = (0..CROWD).map(|number| town.sign_up(&format!("crowd{number}")));
    let crowd = crowd.collect::<Result<Vec<_>>>()?;
    for person in crowd.iter().chain(&crowd) {
        town.send(&person.message())?;
    }
    until("the first of many", || Ok(!crowd[0].organisations(server)?.is_empty()))?;
    server.kill()?;
    server.restart()?;
    for person in &crowd {
        until(&person.name, || Ok(!person.organisations(server)?.is_empty()))?;
    }
    for person in &crowd {
        ensure!(person.organisations(server)? == [person.name.as_str()], "{}", person.name);
    }
    Ok(())
}

/// Whom the pool disables is out with the token that needs no pool, until it lets them in again; and so is who is
/// deleted there.
fn shut_out(town: &Town, server: &Registry, person: &Person) -> Result<()> {
    let themselves = Client::new(server.address(), &person.name, PASSWORD);
    let body = json!({ "label": "ci" }).to_string();
    let (headers, mut body) = ([("content-type", "application/json")], body.as_bytes());
    let body = SendBody::from_reader(&mut body);
    let mut made = expect(themselves.send("POST", "/api/v1/tokens", &headers, body)?, 201)?;
    let made: Value = serde_json::from_str(&made.body_mut().read_to_string()?)?;
    let token = made["token"].as_str().context("a token is shown once")?;
    let machine = Client::new(server.address(), "__token__", token);
    let is_in = |client: &Client| -> Result<bool> { Ok(client.get("/v2/")?.status() == 200) };
    ensure!(is_in(&machine)?, "a new token is not good");
    let who = json!({ "UserPoolId": town.pool, "Username": person.name });
    town.call("AdminDisableUser", &who)?;
    until("who is disabled being shut out", || Ok(!is_in(&machine)? && !is_in(&themselves)?))?;
    town.call("AdminEnableUser", &who)?;
    until("who is enabled being let in", || Ok(is_in(&machine)? && is_in(&themselves)?))?;
    town.call("AdminDeleteUser", &who)?;
    until("who is deleted being shut out", || Ok(!is_in(&machine)? && !is_in(&themselves)?))?;
    // By name and password the same, and yet another person.
    town.sign_up(&person.name)?;
    until("somebody new by a name of before being let in", || is_in(&themselves))?;
    ensure!(!is_in(&machine)?, "the token of who is gone is good again");
    Ok(())
}

/// A worker of its own does the same for nodes; where the facts lie in a data folder it says why it can't.
fn by_itself(scene: &Scene, town: &Town) -> Result<()> {
    let refused = worker(&scene.program, &scene.path("alone"), &town.setup(Setup::default()))?;
    let refused = refused.wait_with_output()?;
    ensure!(refused.status.code() == Some(2), "ended with {}", refused.status);
    super::contains(&String::from_utf8_lossy(&refused.stderr), "postgres.url and s3.bucket")?;

    let (bucket, database) = (servers::minio()?, servers::database()?);
    let nodes = Setup::default().on_bucket(&bucket).on_database(&database);
    let (data, log) = (scene.path("node"), scene.path("node.log"));
    Registry::once(&scene.program, &["migrate"], &data, &nodes)?;
    let mut node = Registry::start_with(&scene.program, &data, &log, nodes.clone())?;
    let setup = town.setup(nodes).with("STRONGROOM_SIGNUPS_RECONCILE_INTERVAL", "0s");
    let mut child = worker(&scene.program, &scene.path("worker"), &setup)?;
    // Not to be handed to the server that was ended above.
    sleep(POLL + Duration::from_millis(500));
    let lee = town.sign_up("lee")?;
    town.send(&lee.message())?;
    let made =
        until("an organisation beside the worker", || Ok(lee.organisations(&node)? == ["lee"]));
    let pid = Pid::from_raw(i32::try_from(child.id())?).context("a child has a process id")?;
    kill_process(pid, Signal::TERM)?;
    let ended = wait(&mut child)?;
    if ended.is_none() {
        child.kill()?;
    }
    let said = String::from_utf8_lossy(&child.wait_with_output()?.stderr).into_owned();
    made.with_context(|| said.clone())?;
    ensure!(
        ended.is_some_and(|status| status.success()),
        "the worker ended with {ended:?}: {said}"
    );
    node.stop()
}

fn worker(program: &Path, data: &Path, setup: &Setup) -> Result<Child> {
    let mut command = Registry::command(program, &["worker"], data, setup);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().context("starting the worker")
}

/// A user pool with an app client, a queue, and one for dead letters.
struct Town {
    moto: Moto,
    pool: String,
    client: String,
    queue: String,
    dead: String,
}

/// Somebody in the pool.
struct Person {
    name: String,
    attributes: Value,
}

impl Town {
    fn new() -> Result<Self> {
        let moto = Moto::start()?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
        let queue = |name: &str, attributes: Value| {
            let asked = json!({ "QueueName": name, "Attributes": attributes });
            text(&moto.call("AmazonSQS.CreateQueue", &asked)?["QueueUrl"])
        };
        let dead = queue("sign-ups-dead", json!({}))?;
        let asked = json!({ "QueueUrl": dead, "AttributeNames": ["QueueArn"] });
        let arn =
            moto.call("AmazonSQS.GetQueueAttributes", &asked)?["Attributes"]["QueueArn"].clone();
        let redrive = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": "10" }).to_string();
        let queue = queue("sign-ups", json!({ "RedrivePolicy": redrive }))?;
        let call = |name: &str, asked: Value| moto.call(&format!("{COGNITO}.{name}"), &asked);
        let pool =
            text(&call("CreateUserPool", json!({ "PoolName": "people" }))?["UserPool"]["Id"])?;
        let asked = json!({
            "UserPoolId": pool, "ClientName": "strongroom",
            "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        });
        let made = call("CreateUserPoolClient", asked)?;
        let client = text(&made["UserPoolClient"]["ClientId"])?;
        Ok(Self { moto, pool, client, queue, dead })
    }

    fn call(&self, name: &str, asked: &Value) -> Result<Value> {
        self.moto.call(&format!("{COGNITO}.{name}"), asked)
    }

    /// What the Lambda is told, with AWS at `endpoint`.
    fn variables(&self, endpoint: &str) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("STRONGROOM_SIGNUPS_QUEUE_URL", self.queue.clone()),
            ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
        ];
        let credentials = Bucket::credentials();
        variables.extend(credentials.map(|(name, value)| (name, value.to_owned())));
        variables
    }

    /// The settings of a server for the people of the pool.
    fn people(&self, setup: Setup) -> Setup {
        let (pool, url) = (&self.pool, self.moto.url());
        let issuer = format!("https://cognito-idp.{REGION}.amazonaws.com/{pool}");
        setup
            .with("STRONGROOM_COGNITO_ISSUER", issuer)
            .with("STRONGROOM_COGNITO_CLIENT_IDS", &self.client)
            .with("STRONGROOM_COGNITO_ENDPOINT", format!("{url}/"))
            .with("STRONGROOM_COGNITO_JWKS_URL", format!("{url}/{pool}/.well-known/jwks.json"))
    }

    /// The settings of who hears of sign-ups.
    fn setup(&self, setup: Setup) -> Setup {
        setup
            .with("STRONGROOM_SIGNUPS_QUEUE_URL", &self.queue)
            .with("STRONGROOM_SIGNUPS_DEAD_LETTER_QUEUE_URL", &self.dead)
            .with("STRONGROOM_SIGNUPS_USER_POOL_ID", &self.pool)
            .with("STRONGROOM_SIGNUPS_REGION", REGION)
            .with("STRONGROOM_SIGNUPS_ENDPOINT", self.moto.url())
            .with("STRONGROOM_SIGNUPS_POLL", format!("{}s", POLL.as_secs()))
            .with_all(Bucket::credentials())
    }

    /// Somebody who signs up and confirms it.
    fn sign_up(&self, name: &str) -> Result<Person> {
        self.sign_up_only(name)?;
        let who = json!({ "UserPoolId": self.pool, "Username": name });
        self.call("AdminConfirmSignUp", &who)?;
        self.person(name)
    }

    fn sign_up_only(&self, name: &str) -> Result<Person> {
        let email = json!([{ "Name": "email", "Value": format!("{name}@acme.example") }]);
        let asked = json!({ "ClientId": self.client, "Username": name, "Password": PASSWORD, "UserAttributes": email });
        self.call("SignUp", &asked)?;
        self.person(name)
    }

    /// Somebody whom an administrator creates.
    fn create(&self, name: &str) -> Result<Person> {
        self.call("AdminCreateUser", &json!({ "UserPoolId": self.pool, "Username": name }))?;
        self.person(name)
    }

    fn person(&self, name: &str) -> Result<Person> {
        let who = json!({ "UserPoolId": self.pool, "Username": name });
        let told = self.call("AdminGetUser", &who)?;
        let mut attributes = serde_json::Map::new();
        for attribute in told["UserAttributes"].as_array().context("no attributes")? {
            let name = attribute["Name"].as_str().context("an attribute has a name")?;
            attributes.insert(name.to_owned(), attribute["Value"].clone());
        }
        attributes.insert("cognito:user_status".to_owned(), told["UserStatus"].clone());
        Ok(Person { name: name.to_owned(), attributes: attributes.into() })
    }

    /// What Cognito would hand to the Lambda about somebody.
    fn event(&self, source: &str, person: &Person) -> Result<Value> {
        ensure!(person.attributes["sub"].is_string(), "{} has no sub", person.name);
        Ok(json!({
            "version": "1",
            "region": REGION,
            "userPoolId": self.pool,
            "userName": person.name,
            "callerContext": { "awsSdkVersion": "aws-sdk-unknown-unknown", "clientId": self.client },
            "triggerSource": source,
            "request": { "userAttributes": person.attributes },
            "response": {}
        }))
    }

    fn send(&self, body: &str) -> Result<()> {
        let asked = json!({ "QueueUrl": self.queue, "MessageBody": body });
        self.moto.call("AmazonSQS.SendMessage", &asked).map(drop)
    }

    /// How many messages are in the queue, held ones too.
    fn waiting(&self) -> Result<u64> {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let asked = json!({ "QueueUrl": self.queue, "AttributeNames": names });
        let told = self.moto.call("AmazonSQS.GetQueueAttributes", &asked)?;
        let count = |name| -> Result<u64> {
            let count = told["Attributes"][name].as_str().context("a queue counts its messages")?;
            Ok(count.parse()?)
        };
        Ok(count(names[0])? + count(names[1])?)
    }

    fn dead_letter(&self) -> Result<Option<Value>> {
        let asked = json!({ "QueueUrl": self.dead, "MessageAttributeNames": ["All"] });
        let told = self.moto.call("AmazonSQS.ReceiveMessage", &asked)?;
        Ok(told["Messages"].get(0).cloned())
    }
}

impl Person {
    /// The organisations that they are an admin of.
    fn organisations(&self, server: &Registry) -> Result<Vec<String>> {
        let principal = format!("cognito:{}", self.attributes["sub"].as_str().unwrap_or_default());
        let list = |words: &[&str]| -> Result<Vec<Value>> {
            Ok(serde_json::from_str(&server.output(words)?)?)
        };
        let mut found = Vec::new();
        for organisation in list(&["org", "list", "--json"])? {
            let name = organisation["name"].as_str().context("an organisation has a name")?;
            let members = list(&["org", "members", name, "--json"])?;
            let theirs = |member: &Value| {
                member["principal"] == principal.as_str() && member["role"] == "admin"
            };
            if members.iter().any(theirs) {
                found.push(name.to_owned());
            }
        }
        Ok(found)
    }

    /// What the Lambda would send about them.
    fn message(&self) -> String {
        let event = format!("event-{}", self.name);
        json!({
            "version": 1, "event_id": event, "sub": self.attributes["sub"], "username": self.name,
            "email": self.attributes["email"], "email_verified": true, "confirmed_at": 1
        })
        .to_string()
    }
}

/// How many messages came to this end.
fn counted(server: &Registry, outcome: &str) -> Result<u64> {
    let mut answer = expect(server.client().get("/metrics")?, 200)?;
    let text = answer.body_mut().read_to_string()?;
    let line = format!("strongroom_signup_messages_total{{outcome=\"{outcome}\"}} ");
    let count = text.lines().find_map(|text| text.strip_prefix(&line));
    Ok(count.map_or(Ok(0), str::parse)?)
}

fn until(what: &str, seen: impl Fn() -> Result<bool>) -> Result<()> {
    until_some(what, || Ok(seen()?.then_some(())))
}

fn until_some<T>(what: &str, seen: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(seen) = seen()? {
            println!("{what}: after {:.1} s", start.elapsed().as_secs_f64());
            return Ok(seen);
        }
        ensure!(start.elapsed() < PATIENCE, "{what} did not come to be");
        sleep(Duration::from_millis(200));
    }
}
