//! The simulated disk loses what a disk may lose, and nothing else.

use std::collections::BTreeSet;

use redb::ReadableDatabase;

use super::super::write_all_at;
use super::*;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn write(file: &dyn DiskFile, offset: u64, bytes: &[u8]) {
    write_all_at(file, &mut [IoSlice::new(bytes)], offset).unwrap();
}

fn read(disk: &SimDisk, at: &str) -> Option<Vec<u8>> {
    content(disk, path(at)).ok().map(Into::into)
}

/// A disk with the durable file `/f` of these bytes, open.
fn with_file(bytes: &[u8]) -> (SimDisk, Box<dyn DiskFile>) {
    let disk = SimDisk::new();
    let file = disk.create_new(path("/f")).unwrap();
    write(&*file, 0, bytes);
    file.sync_data().unwrap();
    disk.sync_dir(path("/")).unwrap();
    (disk, file)
}

/// All contents of `/f` that the power going now can leave, by a thousand seeds.
fn outcomes(disk: &SimDisk) -> BTreeSet<Option<Vec<u8>>> {
    (0..1000).map(|seed| read(&disk.image(disk.effects(), seed), "/f")).collect()
}

#[test]
fn bytes_and_names_are_durable_only_when_each_is_synced() {
    let disk = SimDisk::new();
    let at = |effects| read(&disk.image_strict(effects), "/f");
    let file = disk.create_new(path("/f")).unwrap();
    write(&*file, 0, b"hello");
    file.sync_data().unwrap();
    assert_eq!(at(disk.effects()), None, "the name was not synced");
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(at(disk.effects()), Some(b"hello".to_vec()));
    write(&*file, 0, b"J");
    file.set_len(2).unwrap();
    assert_eq!(at(disk.effects()), Some(b"hello".to_vec()));
    assert_eq!(read(&disk, "/f"), Some(b"Je".to_vec()));
    assert_eq!(read(&disk.image_full(disk.effects()), "/f"), Some(b"Je".to_vec()));
    file.sync_data().unwrap();
    assert_eq!(at(disk.effects()), Some(b"Je".to_vec()));
    // The past has not changed.
    assert_eq!(at(0), None);
    assert_eq!(at(4), Some(b"hello".to_vec()));
}

#[test]
fn a_durable_name_of_unsynced_bytes_is_an_empty_file() {
    let disk = SimDisk::new();
    let file = disk.create_new(path("/f")).unwrap();
    write(&*file, 0, b"hello");
    disk.sync_dir(path("/")).unwrap();

    assert_eq!(read(&disk.image_strict(disk.effects()), "/f"), Some(Vec::new()));
}

#[test]
fn each_unsynced_change_is_kept_or_lost_on_its_own() {
    let (disk, file) = with_file(b"....");
    write(&*file, 0, b"a");
    write(&*file, 3, b"b");
    file.set_len(6).unwrap();

    let found = outcomes(&disk);

    let wanted = ["....", "a...", "...b", "a..b"].map(|kept| Some(kept.as_bytes().to_vec()));
    let longer = wanted.clone().map(|kept| kept.map(|kept| [&kept[..], &[0, 0]].concat()));
    assert_eq!(found, wanted.into_iter().chain(longer).collect());
    assert_eq!(disk.unsynced(disk.effects()), 3);
}

#[test]
fn all_combinations_can_be_walked() {
    let (disk, file) = with_file(b"....");
    for place in 0..4 {
        write(&*file, place, b"x");
    }
    let end = disk.effects();

    let found: BTreeSet<_> = (0..1_u32 << disk.unsynced(end))
        .map(|bits| {
            let keep = |index, _| if bits >> index & 1 == 1 { Keep::All } else { Keep::Nothing };
            read(&disk.image_of(end, keep), "/f")
        })
        .collect();

    assert_eq!(found.len(), 16);
}

#[test]
fn a_write_is_torn_between_sectors_and_never_inside_one() {
    let (disk, file) = with_file(&[b'.'; 2048]);
    write(&*file, 256, &[b'x'; 1536]);

    let found = outcomes(&disk);

    let (mut prefixes, mut holes) = (0, 0);
    for bytes in found {
        let bytes = bytes.unwrap();
        let mut sectors = Vec::new();
        for (start, end) in [(256, 512), (512, 1024), (1024, 1536), (1536, 1792)] {
            let sector = &bytes[start..end];
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a torn sector");
            sectors.push(sector[0] == b'x');
        }
        assert!(bytes[..256].iter().chain(&bytes[1792..]).all(|byte| *byte == b'.'));
        if sectors.is_sorted_by(|one, next| one >= next) {
            prefixes += 1;
        } else {
            holes += 1;
        }
    }
    assert_eq!(prefixes, 5, "nothing, one, two, three sectors and all");
    assert_eq!(holes, 11, "all other subsets");
}

#[test]
fn the_same_seed_gives_the_same_image() {
    let (disk, file) = with_file(&[0; 4096]);
    for place in 0..50 {
        write(&*file, place * 50, &[7; 700]);
    }
    let image = |seed| read(&disk.image(disk.effects(), seed), "/f");

    assert!((0..50).all(|seed| image(seed) == image(seed)));
    assert_ne!(image(1), image(2));
}

#[test]
fn a_link_shares_the_bytes_and_has_a_name_of_its_own() {
    let (disk, file) = with_file(b"one");
    disk.create_dir(path("/d")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    disk.link(path("/f"), path("/d/g")).unwrap();
    disk.remove(path("/f")).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    write(&*file, 3, b" two");

    let image = disk.image_strict(disk.effects());
    assert_eq!(read(&image, "/f"), Some(b"one".to_vec()), "its end was not synced");
    assert_eq!(read(&image, "/d/g"), Some(b"one".to_vec()));
    let image = disk.image_full(disk.effects());
    assert_eq!(read(&image, "/f"), None);
    assert_eq!(read(&image, "/d/g"), Some(b"one two".to_vec()));
}

#[test]
fn power_loss_can_part_the_halves_of_a_rename() {
    let (disk, _file) = with_file(b"one");
    disk.rename(path("/f"), path("/g")).unwrap();
    let end = disk.effects();
    let names = |image: SimDisk| {
        let names = image.read_dir(path("/")).unwrap();
        names.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
    };

    let found: BTreeSet<_> = (0..100).map(|seed| names(disk.image(end, seed))).collect();

    assert_eq!(found.len(), 4, "old, new, both and none: {found:?}");
    assert_eq!(names(disk), ["g"]);
}

#[test]
fn what_lies_in_a_lost_directory_is_lost() {
    let disk = SimDisk::new();
    disk.create_dir(path("/d")).unwrap();
    let file = disk.create_new(path("/d/f")).unwrap();
    write(&*file, 0, b"kept?");
    file.sync_data().unwrap();
    disk.sync_dir(path("/d")).unwrap();

    assert_eq!(read(&disk.image_strict(disk.effects()), "/d/f"), None);
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(read(&disk.image_strict(disk.effects()), "/d/f"), Some(b"kept?".to_vec()));
}

#[test]
fn after_a_failed_sync_a_later_one_lies() {
    let (disk, file) = with_file(b"....");
    write(&*file, 0, b"lost");
    disk.fail(FaultPlan { call: disk.calls(), fault: Fault::Broken, lasting: false });
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(read(&disk, "/f"), Some(b"lost".to_vec()), "reading shows it still");
    assert_eq!(read(&disk.image_full(disk.effects()), "/f"), Some(b"....".to_vec()));
    write(&*file, 3, b"n");
    file.sync_data().unwrap();
    assert_eq!(read(&disk.image_strict(disk.effects()), "/f"), Some(b"...n".to_vec()));

    disk.create_new(path("/g")).unwrap();
    disk.fail(FaultPlan { call: disk.calls(), fault: Fault::Full, lasting: false });
    disk.sync_dir(path("/")).unwrap_err();
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(read(&disk.image_full(disk.effects()), "/g"), None);
    assert_eq!(disk.faults(), 2);
}

#[test]
fn an_image_goes_its_own_way() {
    let (disk, _file) = with_file(b"one");
    let image = disk.image_full(disk.effects());
    let file = image.open(path("/f")).unwrap();
    write(&*file, 0, b"two");

    assert_eq!((image.effects(), image.calls()), (1, 2));
    assert_eq!(read(&image.image_strict(1), "/f"), Some(b"one".to_vec()));
    assert_eq!(read(&image, "/f"), Some(b"two".to_vec()));
    assert_eq!(read(&disk, "/f"), Some(b"one".to_vec()));
}

#[test]
fn a_long_history_can_be_opened_anywhere() {
    let (disk, file) = with_file(b"");
    let before = disk.effects();
    for number in 0..500_u64 {
        write(&*file, number * 8, &number.to_be_bytes());
        file.sync_data().unwrap();
    }

    for number in (0..500_usize).step_by(7) {
        let image = disk.image_strict(before + number * 2);
        assert_eq!(read(&image, "/f").unwrap().len(), number * 8);
    }
}

#[test]
fn bytes_that_were_cut_off_do_not_come_back() {
    let (disk, file) = with_file(&[b'x'; 10_000]);
    file.set_len(5000).unwrap();
    file.set_len(10_000).unwrap();
    let bytes = read(&disk, "/f").unwrap();

    assert!(bytes[..5000].iter().all(|byte| *byte == b'x'));
    assert!(bytes[5000..].iter().all(|byte| *byte == 0));
    assert_eq!(bytes.len(), 10_000);
}

#[test]
fn every_kind_of_fault_hits_the_calls_it_can() {
    let (disk, file) = with_file(b"....");
    let fail = |fault, lasting| disk.fail(FaultPlan { call: disk.calls(), fault, lasting });
    let kind = |result: io::Result<()>| result.map_err(|error| error.kind());

    fail(Fault::Full, true);
    assert_eq!(kind(file.set_len(9)), Err(io::ErrorKind::StorageFull));
    assert_eq!(kind(disk.create_dir(path("/d"))), Err(io::ErrorKind::StorageFull));
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 4);
    fail(Fault::Denied, false);
    assert_eq!(kind(disk.open(path("/f")).map(|_| ())), Err(io::ErrorKind::PermissionDenied));
    disk.open(path("/f")).unwrap();
    fail(Fault::ShortWrite, false);
    assert_eq!(file.write_vectored_at(&[IoSlice::new(b"abcd")], 0).unwrap(), 2);
    assert_eq!(read(&disk, "/f"), Some(b"ab..".to_vec()));
    disk.fail(FaultPlan { call: disk.calls() + 1, fault: Fault::Broken, lasting: true });
    file.len().unwrap();
    file.len().unwrap_err();
    disk.remove(path("/f")).unwrap_err();
    disk.heal();
    disk.remove(path("/f")).unwrap();
    assert_eq!(disk.faults(), 6);
}

#[test]
fn a_disk_of_bounded_capacity_fills_up() {
    let (disk, file) = with_file(&[0; 1000]);
    disk.set_capacity(Some(1500));
    let kind = |result: io::Result<usize>| result.map_err(|error| error.kind());

    assert_eq!(disk.free_bytes(path("/")).unwrap(), 500);
    assert_eq!(kind(file.write_vectored_at(&[IoSlice::new(&[1; 600])], 500)), Ok(600));
    let more = file.write_vectored_at(&[IoSlice::new(&[1; 600])], 1000);
    assert_eq!(kind(more), Err(io::ErrorKind::StorageFull));
    // A hole takes no room until something is written into it.
    file.set_len(100_000).unwrap();
    let hole = file.write_vectored_at(&[IoSlice::new(&[1; 4096])], 8192);
    assert_eq!(kind(hole), Err(io::ErrorKind::StorageFull));
    disk.remove(path("/f")).unwrap();
    assert_eq!(disk.free_bytes(path("/")).unwrap(), 1500);
}

#[test]
fn it_refuses_what_a_file_system_refuses() {
    let (disk, _file) = with_file(b"");
    disk.create_dir(path("/d")).unwrap();
    disk.create_new(path("/d/f")).unwrap();
    let kind = |result: io::Result<()>| result.unwrap_err().kind();

    assert_eq!(kind(disk.create_dir(path("/"))), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create_dir(path("/f"))), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create_dir(path("/x/y"))), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.create_dir(path("/f/y"))), io::ErrorKind::NotADirectory);
    assert_eq!(kind(disk.link(path("/f"), path("/d/f"))), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.remove(path("/d"))), io::ErrorKind::IsADirectory);
    assert_eq!(kind(disk.remove_dir(path("/d"))), io::ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(disk.sync_dir(path("/f"))), io::ErrorKind::NotADirectory);
    assert_eq!(kind(disk.open(path("/../f")).map(|_| ())), io::ErrorKind::InvalidFilename);
}

#[test]
fn redb_keeps_what_it_committed_in_every_image() {
    const TABLE: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("t");
    let open = |disk: &SimDisk| {
        let backend = SimBackend::open(disk, path("/db")).unwrap();
        redb::Builder::new().set_cache_size(1 << 20).create_with_backend(backend).unwrap()
    };
    let disk = SimDisk::new();
    let database = open(&disk);
    let mut committed = Vec::new();
    for number in 0..20_u64 {
        let mut commit = database.begin_write().unwrap();
        commit.set_two_phase_commit(true);
        commit.open_table(TABLE).unwrap().insert(number, number * 3).unwrap();
        commit.commit().unwrap();
        committed.push(disk.effects());
    }
    let first = committed[0];

    for at in (first..=disk.effects()).step_by(3) {
        let database = open(&disk.image(at, at as u64));
        let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
        let safe = committed.iter().filter(|done| **done <= at).count() as u64;
        for number in 0..safe {
            let value = table.get(number).unwrap().map(|value| value.value());
            assert_eq!(value, Some(number * 3), "lost behind effect {at}");
        }
    }
}
