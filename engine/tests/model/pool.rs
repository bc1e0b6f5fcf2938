//! The few things that the model's histories push: few, so that they meet often.

use bytes::Bytes;
use strongroom_engine::digest::{Algorithm, Digest};

use crate::support::{IMAGE, INDEX, image, index};

/// Manifests larger than this are kept in the blob store.
pub const INLINE: usize = 2048;

/// Where the manifests begin: what is before them is no manifest.
pub const FIRST_MANIFEST: usize = 6;

/// Something that can be pushed: as a blob, and from [`FIRST_MANIFEST`] on as a manifest too.
#[derive(Debug)]
pub struct Thing {
    pub bytes: Bytes,
    pub digest: Digest,
    /// What it names as a manifest, and whether as a manifest.
    pub children: Vec<(usize, bool)>,
    pub subject: Option<usize>,
    pub artifact_type: &'static str,
}

impl Thing {
    fn new(algorithm: Algorithm, bytes: Bytes, children: Vec<(usize, bool)>) -> Self {
        let digest = Digest::of(algorithm, &bytes);
        Self { bytes, digest, children, subject: None, artifact_type: "" }
    }

    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub fn inline(&self) -> bool {
        self.bytes.len() <= INLINE
    }
}

/// All things there are.
pub fn things() -> Vec<Thing> {
    let mut pool = Vec::new();
    for (size, algorithm) in [
        (2, Algorithm::Sha256),
        (1, Algorithm::Sha256),
        (300, Algorithm::Sha512),
        (5_000, Algorithm::Sha256),
        (70_000, Algorithm::Sha256),
        (0, Algorithm::Sha256),
    ] {
        let bytes: Bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>().into();
        pool.push(Thing::new(algorithm, bytes, Vec::new()));
    }
    // Each: its layers, its subject, its artifact type, whether it is large, whether sha512.
    let images: [(&[usize], _, _, _, _); 5] = [
        (&[1], None, "", false, false),
        (&[2, 3, 3], None, "", false, false),
        (&[1], Some(6), "text/one", false, false),
        (&[4], None, "", true, false),
        (&[5], Some(11), "text/two", false, true),
    ];
    for (number, (layers, subject, artifact_type, large, sha512)) in images.into_iter().enumerate()
    {
        // The fifth is made after the index that it refers to.
        if number == 4 {
            let of = |at: usize| (IMAGE, &pool[at].digest, pool[at].bytes.len());
            let bytes = index(&[of(6), of(7)]);
            pool.push(Thing::new(Algorithm::Sha256, bytes, vec![(6, true), (7, true)]));
            let of_index = (INDEX, &pool[10].digest, pool[10].bytes.len());
            let bytes = index(&[of_index, of_image(&pool, 9)]);
            pool.push(Thing::new(Algorithm::Sha256, bytes, vec![(10, true), (9, true)]));
        }
        let mut more = String::new();
        if let Some(subject) = subject {
            let subject: &Thing = &pool[subject];
            let (digest, size) = (&subject.digest, subject.bytes.len());
            let kind = if subject.children.iter().any(|child| child.1) { INDEX } else { IMAGE };
            let descriptor = crate::support::descriptor(kind, digest, size);
            more = format!(r#","subject":{descriptor},"artifactType":"{artifact_type}""#);
        }
        if large {
            more.push_str(r#","annotations":{"long":""#);
            more.push_str(&"x".repeat(INLINE));
            more.push_str(r#""}"#);
        }
        let of = |at: usize| (&pool[at].digest, pool[at].bytes.len());
        let named: Vec<_> = layers.iter().map(|layer| of(*layer)).collect();
        let bytes = image(of(0), &named, &more);
        let children = std::iter::once(&0).chain(layers).map(|at| (*at, false)).collect();
        let algorithm = if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let thing = Thing::new(algorithm, bytes, children);
        pool.push(Thing { subject, artifact_type, ..thing });
    }
    // An image whose layer is a manifest's bytes: that has to be here as a blob.
    let bytes = {
        let of = |at: usize| (&pool[at].digest, pool[at].bytes.len());
        image(of(0), &[of(6)], "")
    };
    pool.push(Thing::new(Algorithm::Sha256, bytes, vec![(0, false), (6, false)]));
    pool
}

fn of_image(pool: &[Thing], at: usize) -> (&'static str, &Digest, usize) {
    (IMAGE, &pool[at].digest, pool[at].bytes.len())
}
