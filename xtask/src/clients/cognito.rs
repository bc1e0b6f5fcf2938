//! People of a user pool, over a stand-in of Cognito: somebody signs up, confirms, signs in with docker,
//! and is the admin of an organisation of their own; makes a registry, pushes, and invites somebody who
//! may pull and nothing else. oras, helm and a robot do the same. Then the trail has exactly that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use strongroom_servers::REGION;
use ureq::SendBody;

use super::docker::Engine;
use super::{Scene, contains, same_bytes};
use crate::http::{Client, expect};
use crate::registry::Setup;
use crate::servers::Moto;
use crate::site::Site;
use crate::{run, tools};

/// Whoever makes all this, and invites the second; the third is of elsewhere. Each with their
/// password, which is good for this test alone.
const JO: Person = Person { name: "jo", password: "Only-for-this-test-1" };
const ANN: Person = Person { name: "ann", password: "Only-for-this-test-2" };
const EVE: Person = Person { name: "eve", password: "Only-for-this-test-3" };

/// How long the line of a pull may wait.
const PULLS_WAIT: Duration = Duration::from_secs(1);

const COGNITO: &str = "AWSCognitoIdentityProviderService";
const IMAGE: &str = "jo/main/app";
const CHART: &str = "jo/main/charts/demo";
const FILE: &str = "jo/main/files";
const BY_ROBOT: &str = "jo/main/nightly";

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let pool = Pool::start()?;
    let folder = scene.path("pool");
    std::fs::create_dir_all(&folder)?;
    scene.registry.stop()?;
    let setup = pool.setup(&folder)?;
    scene.registry = Site::start(&scene.program, &folder, scene.ground, setup)?;
    let address = scene.registry.address();
    let (jo, ann, eve) = (JO.at(&address), ANN.at(&address), EVE.at(&address));

    let engine = Engine::start(&scene.path("docker"))?;
    first_sign_in(&pool, &engine, &address)?;
    let own = organisations(&jo)?;
    ensure!(own == ["jo"], "the first sight made other organisations than their own: {own:?}");
    create(&jo, "/organisations/jo/registries", &json!({ "name": "main" }))?;
    let image = format!("{address}/{IMAGE}:1.0");
    import(scene, &engine, &image)?;
    docker(&engine, JO, &["push", "--quiet", &image])?;

    // Who was never here can't be invited; from their first sight on, by their address too.
    let invitation = json!({ "user": "ann@people.example", "role": "viewer" });
    pool.sign_up(ANN)?;
    pool.confirm(ANN)?;
    refused(&jo, "/organisations/jo/members", &invitation, 422, "nobody of this name")?;
    ensure!(organisations(&ann)? == ["ann"], "ann has another organisation than her own");
    create(&jo, "/organisations/jo/members", &invitation)?;
    viewer(&engine, &ann, &address, &image)?;
    stranger(&pool, &engine, &eve, &ann, &address)?;

    by_oras(scene, &address)?;
    by_helm(scene, &address)?;
    by_robot(scene, &jo, &address)?;
    trail(&jo)?;
    scene.registry.verb(&["audit", "verify"])?;
    engine.stop()
}

/// Somebody of the pool.
#[derive(Debug, Clone, Copy)]
struct Person {
    name: &'static str,
    password: &'static str,
}

impl Person {
    fn at(self, address: &str) -> Client {
        Client::new(address, self.name, self.password)
    }

    fn email(self) -> String {
        format!("{}@people.example", self.name)
    }
}

/// A user pool with the registry's client and that of a page where people sign up.
struct Pool {
    moto: Moto,
    id: String,
    client: String,
    secret: String,
    page: String,
}

impl Pool {
    fn start() -> Result<Self> {
        let moto = Moto::start()?;
        let call =
            |operation: &str, body: Value| moto.call(&format!("{COGNITO}.{operation}"), &body);
        let pool = call("CreateUserPool", json!({ "PoolName": "people" }))?;
        let id = text(&pool, "/UserPool/Id")?;
        let client = |name: &str, secret: bool| {
            call(
                "CreateUserPoolClient",
                json!({
                    "UserPoolId": id, "ClientName": name, "GenerateSecret": secret,
                    "ReadAttributes": ["email", "email_verified"],
                    "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
                }),
            )
        };
        let (registry, page) = (client("registry", true)?, client("page", false)?);
        Ok(Self {
            client: text(&registry, "/UserPoolClient/ClientId")?,
            secret: text(&registry, "/UserPoolClient/ClientSecret")?,
            page: text(&page, "/UserPoolClient/ClientId")?,
            id: id.clone(),
            moto,
        })
    }

    /// The settings of a registry for the people of the pool.
    fn setup(&self, folder: &Path) -> Result<Setup> {
        let secret = folder.join("client-secret");
        std::fs::write(&secret, format!("{}\n", self.secret))?;
        let (id, url) = (&self.id, self.moto.url());
        let issuer = format!("https://cognito-idp.{REGION}.amazonaws.com/{id}");
        Ok(Setup::default()
            .with("STRONGROOM_COGNITO_ISSUER", issuer)
            .with("STRONGROOM_COGNITO_CLIENT_IDS", &self.client)
            .with("STRONGROOM_COGNITO_CLIENT_SECRET_FILE", secret.to_string_lossy())
            .with("STRONGROOM_COGNITO_ENDPOINT", format!("{url}/"))
            .with("STRONGROOM_COGNITO_JWKS_URL", format!("{url}/{id}/.well-known/jwks.json"))
            .with("STRONGROOM_ORGANISATIONS_PER_PERSON", "1"))
    }

    fn sign_up(&self, person: Person) -> Result<()> {
        let body = json!({
            "ClientId": self.page, "Username": person.name, "Password": person.password,
            "UserAttributes": [{ "Name": "email", "Value": person.email() }],
        });
        self.moto.call(&format!("{COGNITO}.SignUp"), &body)?;
        Ok(())
    }

    /// What the code of the message does, on the page.
    fn confirm(&self, person: Person) -> Result<()> {
        let whose = json!({ "UserPoolId": self.id, "Username": person.name });
        self.moto.call(&format!("{COGNITO}.AdminConfirmSignUp"), &whose)?;
        let mut verified = whose;
        // No text: the stand-in's tokens have it as it was set, and Cognito's have a truth value.
        verified["UserAttributes"] = json!([{ "Name": "email_verified", "Value": true }]);
        self.moto.call(&format!("{COGNITO}.AdminUpdateUserAttributes"), &verified)?;
        Ok(())
    }
}

fn text(of: &Value, pointer: &str) -> Result<String> {
    let text = of.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("{pointer} is no text in {of}"))?.to_owned())
}

/// Makes something by the API.
fn create(by: &Client, path: &str, body: &Value) -> Result<Value> {
    let mut answer = expect(post(by, path, body)?, 201).with_context(|| path.to_owned())?;
    Ok(serde_json::from_str(&answer.body_mut().read_to_string()?)?)
}

/// Fails to make something, for this reason.
fn refused(by: &Client, path: &str, body: &Value, status: u16, why: &str) -> Result<()> {
    let mut answer = expect(post(by, path, body)?, status).with_context(|| path.to_owned())?;
    contains(&answer.body_mut().read_to_string()?, why)
}

fn post(by: &Client, path: &str, body: &Value) -> Result<ureq::http::Response<ureq::Body>> {
    let body = body.to_string();
    // What is refused before its body is read ends its connection: none is used twice.
    let headers = [("content-type", "application/json"), ("connection", "close")];
    let mut body = body.as_bytes();
    by.send("POST", &format!("/api/v1{path}"), &headers, SendBody::from_reader(&mut body))
}

fn get(by: &Client, path: &str) -> Result<Value> {
    let mut answer = expect(by.get(&format!("/api/v1{path}"))?, 200)?;
    Ok(serde_json::from_str(&answer.body_mut().read_to_string()?)?)
}

fn organisations(of: &Client) -> Result<Vec<String>> {
    let page = get(of, "/organisations")?;
    let items = page["items"].as_array().context("a page has items")?;
    items.iter().map(|item| text(item, "/name")).collect()
}

/// docker, as somebody: each has a configuration of their own.
fn docker(engine: &Engine, person: Person, arguments: &[&str]) -> Result<String> {
    let mut command = engine.command(arguments);
    command.env("DOCKER_CONFIG", engine.folder().join(person.name));
    run::output_and_errors(&mut command)
}

fn login(engine: &Engine, person: Person, address: &str, password: &str) -> Result<String> {
    docker(engine, person, &["login", address, "--username", person.name, "--password", password])
}

/// What a command says that fails.
fn failure(outcome: Result<String>) -> Result<String> {
    match outcome {
        Ok(said) => bail!("this should have failed: {said}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// Unconfirmed, wrong, right: each is told what it is.
fn first_sign_in(pool: &Pool, engine: &Engine, address: &str) -> Result<()> {
    let unknown = failure(login(engine, JO, address, JO.password))?;
    contains(&unknown, "the credentials are not valid")?;
    pool.sign_up(JO)?;
    let unconfirmed = failure(login(engine, JO, address, JO.password))?;
    contains(&unconfirmed, "this account is not confirmed yet")?;
    pool.confirm(JO)?;
    let wrong = failure(login(engine, JO, address, "Another-password-1"))?;
    contains(&wrong, "the credentials are not valid")?;
    contains(&login(engine, JO, address, JO.password)?, "Login Succeeded")
}

/// Makes an image of a shell.
fn import(scene: &Scene, engine: &Engine, name: &str) -> Result<()> {
    let archive = scene.path("image.tar");
    let busybox = tools::busybox()?;
    let folder = busybox.parent().context("busybox lies in a folder")?;
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(&archive).arg("-C").arg(folder).arg("busybox");
    run::show(&mut tar)?;
    let archive = archive.to_string_lossy();
    docker(engine, JO, &["import", "--change", "CMD [\"/busybox\", \"sh\"]", &archive, name])?;
    Ok(())
}

/// Who was invited to look pulls, and neither pushes nor manages.
fn viewer(engine: &Engine, ann: &Client, address: &str, image: &str) -> Result<()> {
    let id = docker(engine, JO, &["image", "inspect", "--format", "{{.Id}}", image])?;
    docker(engine, JO, &["rmi", "--force", image])?;
    login(engine, ANN, address, ANN.password)?;
    docker(engine, ANN, &["pull", "--quiet", image])?;
    let pulled = docker(engine, ANN, &["image", "inspect", "--format", "{{.Id}}", image])?;
    ensure!(pulled == id, "another image came back: {pulled}");
    let other = format!("{address}/{IMAGE}:by-ann");
    docker(engine, ANN, &["tag", image, &other])?;
    contains(&failure(docker(engine, ANN, &["push", "--quiet", &other]))?, "denied")?;
    for (path, body) in [
        ("/organisations/jo/registries", json!({ "name": "hers" })),
        ("/organisations/jo/members", json!({ "user": "ann", "role": "admin" })),
        ("/organisations/jo/robots", json!({ "name": "hers" })),
    ] {
        refused(ann, path, &body, 403, "forbidden")?;
    }
    ensure!(organisations(ann)?.len() == 2, "she is in her own organisation and in jo's");
    // One more by herself, and no more than that.
    create(ann, "/organisations", &json!({ "name": "ann-labs" }))?;
    refused(ann, "/organisations", &json!({ "name": "ann-more" }), 403, "nobody makes more than 1")
}

/// What is somebody else's answers as what nobody has, to whoever asks and by whatever they ask.
fn stranger(pool: &Pool, engine: &Engine, eve: &Client, ann: &Client, address: &str) -> Result<()> {
    pool.sign_up(EVE)?;
    pool.confirm(EVE)?;
    create(eve, "/organisations/eve/registries", &json!({ "name": "main" }))?;
    let image = format!("{address}/eve/main/app:1.0");
    docker(engine, JO, &["tag", &format!("{address}/{IMAGE}:by-ann"), &image])?;
    login(engine, EVE, address, EVE.password)?;
    docker(engine, EVE, &["push", "--quiet", &image])?;
    for (method, path) in [
        ("GET", "/api/v1/organisations/NAME"),
        ("GET", "/api/v1/organisations/NAME/registries"),
        ("GET", "/api/v1/organisations/NAME/audit"),
        ("DELETE", "/api/v1/organisations/NAME"),
        ("GET", "/v2/NAME/main/app/manifests/1.0"),
        ("GET", "/v2/NAME/main/app/tags/list"),
        ("POST", "/v2/NAME/main/app/blobs/uploads/"),
    ] {
        let ask = |name: &str| -> Result<(u16, String)> {
            let mut answer =
                ann.send(method, &path.replace("NAME", name), &[], SendBody::none())?;
            let body = answer.body_mut().read_to_string()?;
            Ok((answer.status().as_u16(), body.replace(name, "NAME")))
        };
        let (theirs, nobodys) = (ask("eve")?, ask("nix")?);
        ensure!(theirs == nobodys, "{method} {path}: {theirs:?}, and of nobody: {nobodys:?}");
        ensure!(theirs.0 == 404, "{method} {path} answers {theirs:?}");
    }
    let pull = |name: &str| -> Result<String> {
        let image = format!("{address}/{name}/main/app:1.0");
        docker(engine, ANN, &["rmi", "--force", &image]).ok();
        Ok(failure(docker(engine, ANN, &["pull", "--quiet", &image]))?.replace(name, "NAME"))
    };
    let (theirs, nobodys) = (pull("eve")?, pull("nix")?);
    ensure!(theirs == nobodys, "docker tells them apart:\n{theirs}\n{nobodys}");
    Ok(())
}

/// A program of somebody, with credentials and caches in a folder of theirs.
fn of_person(program: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("DOCKER_CONFIG", folder);
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, folder.join(name));
    }
    command
}

fn place(scene: &Scene, name: &str) -> Result<PathBuf> {
    let folder = scene.path(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn by_oras(scene: &Scene, address: &str) -> Result<()> {
    let program = tools::ORAS.find()?;
    let (jo, ann) = (place(scene, "oras-jo")?, place(scene, "oras-ann")?);
    let name = format!("{address}/{FILE}:1.0");
    std::fs::write(jo.join("notes.txt"), "what jo keeps\n")?;
    for (person, folder) in [(JO, &jo), (ANN, &ann)] {
        let login = ["login", address, "--username", person.name, "--password", person.password];
        let login = [login.as_slice(), &["--plain-http"]].concat();
        run::output(&mut of_person(&program, folder, &login))?;
    }
    let push = ["push", &name, "notes.txt:text/plain", "--plain-http"];
    run::output(&mut of_person(&program, &jo, &push))?;
    run::output(&mut of_person(&program, &ann, &["pull", &name, "--plain-http"]))?;
    same_bytes(&jo.join("notes.txt"), &ann.join("notes.txt"))?;
    let said = failure(run::output(&mut of_person(&program, &ann, &push)))?;
    contains(&said.to_lowercase(), "denied")
}

fn by_helm(scene: &Scene, address: &str) -> Result<()> {
    let program = tools::HELM.find()?;
    let (jo, ann) = (place(scene, "helm-jo")?, place(scene, "helm-ann")?);
    let plain = "--plain-http";
    for (person, folder) in [(JO, &jo), (ANN, &ann)] {
        let login = ["registry", "login", address, plain, "--username", person.name, "--password"];
        let login = [login.as_slice(), &[person.password]].concat();
        run::output(&mut of_person(&program, folder, &login))?;
    }
    run::output(&mut of_person(&program, &jo, &["create", "demo"]))?;
    run::output(&mut of_person(&program, &jo, &["package", "demo", "--version", "1.2.3"]))?;
    let charts = format!("oci://{address}/jo/main/charts");
    let push = ["push", "demo-1.2.3.tgz", &charts, plain];
    run::output(&mut of_person(&program, &jo, &push))?;
    let chart = format!("{charts}/demo");
    let pull = ["pull", &chart, "--version", "1.2.3", plain];
    run::output(&mut of_person(&program, &ann, &pull))?;
    same_bytes(&jo.join("demo-1.2.3.tgz"), &ann.join("demo-1.2.3.tgz"))?;
    let said = failure(run::output(&mut of_person(&program, &ann, &push)))?;
    contains(&said.to_lowercase(), "denied")
}

/// A machine of jo's organisation, which may write, with a token of its own.
fn by_robot(scene: &Scene, jo: &Client, address: &str) -> Result<()> {
    let robot = create(jo, "/organisations/jo/robots", &json!({ "name": "ci" }))?;
    let principal = text(&robot, "/principal")?;
    create(jo, "/organisations/jo/members", &json!({ "user": principal, "role": "writer" }))?;
    let label = json!({ "label": "nightly" });
    let token = create(jo, "/organisations/jo/robots/jo+ci/tokens", &label)?;
    let token = text(&token, "/token")?;
    let (program, folder) = (tools::ORAS.find()?, place(scene, "oras-ci")?);
    std::fs::write(folder.join("build.txt"), "of the night\n")?;
    let login = ["login", address, "--username", "jo+ci", "--password", &token, "--plain-http"];
    run::output(&mut of_person(&program, &folder, &login))?;
    let push = |name: &str| {
        let name = format!("{address}/{name}:1.0");
        let push = ["push", &name, "build.txt:text/plain", "--plain-http"];
        run::output(&mut of_person(&program, &folder, &push))
    };
    push(BY_ROBOT)?;
    failure(push("eve/main/nightly"))?;
    let robot = Client::new(address, "jo+ci", &token);
    refused(&robot, "/organisations/jo/registries", &json!({ "name": "its" }), 403, "forbidden")
}

/// The organisation's trail is what was done above, each by whom and where: no line more, no line less.
/// Clients may ask twice for the same, so each is looked for once.
fn trail(jo: &Client) -> Result<()> {
    let me = text(&get(jo, "/me")?, "/principal")?;
    let members = get(jo, "/organisations/jo/members")?;
    let items = members["items"].as_array().context("a page has items")?;
    let mut members = items.iter().filter_map(|item| item["principal"].as_str());
    let ann = members.find(|who| who.starts_with("cognito:") && *who != me);
    let (ann, robot) = (ann.context("ann is a member")?.to_owned(), "robot:jo+ci".to_owned());
    // Lines of pulls wait for others, a second at most.
    sleep(2 * PULLS_WAIT);
    let page = get(jo, "/organisations/jo/audit?order=oldest&limit=1000")?;
    ensure!(page["next"].is_null() || page["items"].as_array().is_some(), "one page is enough");
    let mut found = BTreeSet::new();
    for line in page["items"].as_array().context("a page has items")? {
        let (who, kind) = (text(line, "/principal")?, text(line, "/kind")?);
        let place = line.pointer("/event/repository/path").and_then(Value::as_str);
        let named = || {
            let fields = ["/event/name", "/event/principal", "/event/subject"];
            fields.iter().find_map(|field| line.pointer(field)?.as_str())
        };
        let what = place.or_else(named).unwrap_or_default();
        // A token of the robot has another id each time.
        let what = what.split_once(" token ").map_or(what, |(owner, _)| owner);
        found.insert((who, kind, what.to_owned()));
    }
    let mut wanted = BTreeSet::new();
    let mut want = |who: &str, lines: &[(&str, &str)]| {
        for (kind, what) in lines {
            wanted.insert((who.to_owned(), (*kind).to_owned(), (*what).to_owned()));
        }
    };
    want(
        &me,
        &[
            ("organisation_created", "jo"),
            ("registry_created", "main"),
            ("member_set", &ann),
            ("member_set", &robot),
            ("identity", &robot),
        ],
    );
    for (who, place) in [(&me, IMAGE), (&me, FILE), (&me, CHART), (&robot, BY_ROBOT)] {
        for kind in ["repository_created", "upload_started", "blob_pushed", "manifest_pushed"] {
            want(who, &[(kind, place)]);
        }
    }
    for place in [IMAGE, FILE, CHART] {
        want(&ann, &[("pulled", place)]);
    }
    // helm reads what it has pushed.
    want(&me, &[("pulled", CHART)]);
    // Of ann and the robot; and of eve, whose docker tried to mount layers that it knew from here.
    let refused: Vec<_> = found.iter().filter(|(_, kind, _)| kind == "refused").cloned().collect();
    ensure!(refused.iter().all(|(who, ..)| *who != me), "jo was refused: {refused:?}");
    let of_ann = refused.iter().any(|(who, ..)| *who == ann);
    ensure!(of_ann, "that ann was refused is not in the trail");
    found.retain(|(_, kind, _)| kind != "refused" && kind != "sealed");
    let (more, less): (Vec<_>, Vec<_>) =
        (found.difference(&wanted).collect(), wanted.difference(&found).collect());
    ensure!(more.is_empty() && less.is_empty(), "the trail has also {more:#?}, and not {less:#?}");
    Ok(())
}
