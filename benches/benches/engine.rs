//! The engine's small steps under criterion, for whoever tunes one of them.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a bench may fail loudly")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use strongroom_benches::world::{World, manifest, random_bytes};
use strongroom_engine::Settings;
use strongroom_engine::access::Action;
use strongroom_engine::digest::{Algorithm, Hasher};
use strongroom_engine::manifest::{Limits, Manifest};
use strongroom_engine::name::Reference;

fn hashing(c: &mut Criterion) {
    let bytes = random_bytes(1 << 20);
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Bytes(1 << 20));
    for algorithm in Algorithm::ALL {
        group.bench_function(algorithm.as_str(), |b| {
            b.iter(|| {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&bytes);
                hasher.finish()
            });
        });
    }
    group.finish();
}

fn manifests(c: &mut Criterion) {
    let push = manifest(1, &[]).unwrap();
    c.bench_function("parse a manifest", |b| {
        b.iter(|| Manifest::parse(&push.bytes, push.content_type.as_deref(), &Limits::default()));
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::new(Settings::default())).unwrap();
    runtime.block_on(world.push_config("many")).unwrap();
    let mut number = 0;
    c.bench_function("push a manifest, durable", |b| {
        b.iter(|| {
            number += 1;
            let push = manifest(number, &["latest".to_owned()]).unwrap();
            runtime.block_on(async {
                let repository = world.open("many", Action::Push).await.unwrap();
                repository.push_manifest(&push).await.unwrap()
            })
        });
    });
    let latest: Reference = "latest".parse().unwrap();
    let repository = runtime.block_on(world.open("many", Action::Pull)).unwrap();
    c.bench_function("a manifest by tag from the cache", |b| {
        b.iter(|| runtime.block_on(repository.stat_manifest(&latest)).unwrap());
    });
}

criterion_group!(benches, hashing, manifests);
criterion_main!(benches);
