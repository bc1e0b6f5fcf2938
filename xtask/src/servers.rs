//! The servers that a registry can stand on, with their programs installed first, and what a registry is
//! told of them.

use anyhow::{Context, Result};
use serde_json::Value;
use strongroom_servers::{Bucket, Database, REGION, RoundRobin, S3Kind};
use ureq::SendBody;

use crate::http::{self, Client};
use crate::registry::Setup;
use crate::tools;

/// MinIO.
pub fn minio() -> Result<Bucket> {
    Bucket::start(S3Kind::Minio, &tools::MINIO.find()?)
}

/// versitygw.
pub fn versitygw() -> Result<Bucket> {
    Bucket::start(S3Kind::Versity, &tools::VERSITYGW.find()?)
}

/// PostgreSQL.
pub fn database() -> Result<Database> {
    Database::start(&tools::postgres()?)
}

/// nginx, before the nodes at these addresses.
pub fn round_robin(nodes: &[String]) -> Result<RoundRobin> {
    RoundRobin::start(&tools::nginx()?, nodes)
}

/// Where a bucket is. Another host than the registry's, as in life: clients send their credentials for us
/// along to whatever has our name.
fn endpoint(bucket: &Bucket) -> String {
    format!("http://localhost:{}", bucket.port())
}

impl Setup {
    /// The bytes lie in this bucket.
    pub fn on_bucket(self, bucket: &Bucket) -> Self {
        self.with("STRONGROOM_S3_BUCKET", Bucket::NAME)
            .with("STRONGROOM_S3_ENDPOINT", endpoint(bucket))
            .with("STRONGROOM_S3_REGION", REGION)
            .with("STRONGROOM_S3_PATH_STYLE", "true")
            .with_all(Bucket::credentials())
    }

    /// The facts lie in this database.
    pub fn on_database(self, database: &Database) -> Self {
        self.with("STRONGROOM_POSTGRES_URL", database.url())
    }
}

/// A bucket in a file of settings, below a prefix; the keys are the environment's.
pub fn bucket_settings(bucket: &Bucket, prefix: &str) -> String {
    format!(
        "[s3]\nbucket = \"{}\"\nprefix = \"{prefix}\"\nregion = \"{REGION}\"\n\
         endpoint = \"{}\"\npath_style = true\n",
        Bucket::NAME,
        endpoint(bucket)
    )
}

/// A database in a file of settings.
pub fn database_settings(database: &Database) -> String {
    format!("[postgres]\nurl = \"{}\"\n", database.url())
}

/// moto, and a client of it.
pub struct Moto {
    server: strongroom_servers::Moto,
    client: Client,
}

impl Moto {
    /// Empty.
    pub fn start() -> Result<Self> {
        let server = strongroom_servers::Moto::start(&tools::moto()?)?;
        let client = Client::anonymous(&server.address());
        Ok(Self { server, client })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// One call, named as in `X-Amz-Target`: `AWSCognitoIdentityProviderService.SignUp`,
    /// `AmazonSQS.CreateQueue`. An answer that is none of success is an error with its text.
    pub fn call(&self, target: &str, body: &Value) -> Result<Value> {
        let service = if target.starts_with("AmazonSQS.") { "sqs" } else { "cognito-idp" };
        // By this it finds the service; what is signed is not looked at.
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/20260101/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0",
            Bucket::KEY
        );
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-amz-target", target),
            ("content-type", "application/x-amz-json-1.1"),
        ];
        let sent = body.to_string();
        let mut sent = sent.as_bytes();
        let answer = self.client.send("POST", "/", &headers, SendBody::from_reader(&mut sent))?;
        let answer = http::expect(answer, 200).with_context(|| target.to_owned())?;
        let text = answer.into_body().read_to_string()?;
        if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }
}
