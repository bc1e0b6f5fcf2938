use super::*;

fn example() -> Saved {
    let part = |number, size, etag: &str| Part { number, size, crc: 7, etag: etag.to_owned() };
    Saved {
        upload: Some(Upload { id: "an-upload".to_owned(), again: Some(3) }),
        parts: vec![part(1, 5 << 20, "\"a\""), part(9, 6 << 20, "\"b\"")],
        rest: Rest::Tail { name: TailName { nonce: 0xab, count: 2 }, size: 17, crc: 5 },
        doomed: vec![TailName { nonce: 0xab, count: 1 }],
        claims: 4,
        nonce: 0xab,
        tails: 2,
        next: 10,
        end: 138,
        open: true,
    }
}

/// A state in somebody's database must be read by every later version: this text never changes.
#[test]
fn a_state_of_version_one_is_read_for_ever() {
    const GOLDEN: &str = "010109616e2d75706c6f6164010302018080c002070322612209808080030703226222\
                          01ab0102110501ab010104ab01020a8a0101";
    let encoded = example().encode();
    assert_eq!(const_hex::encode(&encoded.state), GOLDEN);
    assert_eq!(Saved::decode(&encoded.state), Some(example()));
    assert_eq!(encoded.offset, (11 << 20) + 17);
}

#[test]
fn what_is_no_state_of_ours_is_refused() {
    for state in [&[9, 9, 9][..], &[VERSION], &[LISTED, 0], &[VERSION, 0xff, 0xff]] {
        assert_eq!(Saved::decode(state), None, "{state:?}");
    }
    assert_eq!(Saved::decode(&[]), Some(Saved::default()));
}

#[test]
fn a_writer_that_closed_leaves_no_gap_and_one_that_did_not_leaves_its_window() {
    let first = Saved::default().claimed(1);
    assert_eq!((first.next, first.end, first.open), (1, 129, true));
    // It died at once: nobody knows which of its numbers it used.
    let second = first.claimed(2);
    assert_eq!((second.next, second.end), (129, 257));
    // It used three, said so, went on, and died.
    let mut third = second.clone();
    third.moved_on(132, true);
    assert_eq!((third.next, third.end), (132, 260));
    assert_eq!(third.claimed(3).next, 260);
    // It closed in order, as each small chunk does.
    let mut closed = second;
    for nonce in 0..20_000 {
        closed.moved_on(132, false);
        closed = closed.claimed(nonce);
    }
    assert_eq!((closed.next, closed.end), (132, 260));
}

#[test]
fn numbers_end_where_those_of_s3_end() {
    let mut saved = Saved::default().claimed(1);
    for nonce in 0..200 {
        saved = saved.claimed(nonce);
        assert!(saved.next <= saved.end && saved.end <= NUMBERS + 1);
    }
    assert_eq!((saved.next, saved.end), (NUMBERS + 1, NUMBERS + 1));
}

#[test]
fn the_checksum_of_parts_is_that_of_the_whole() {
    let whole = b"one two three";
    let mut saved = Saved::default();
    for (number, bytes) in [(1, &b"one "[..]), (2, b"two "), (3, b"three")] {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes);
        let etag = String::new();
        saved.parts.push(Part { number, size: bytes.len() as u64, crc, etag });
    }
    let wanted = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, whole);
    assert_eq!(saved.crc_of_parts(), wanted);
}

#[test]
fn what_a_listing_found_is_told_apart_from_a_session() {
    let state = listed(&["one".to_owned(), "two".to_owned()]);
    assert_eq!(listed_ids(&state).unwrap(), ["one", "two"]);
    assert_eq!(listed_ids(&example().encode()), None);
    assert_eq!(listed_ids(&WriteState::default()), None);
}
