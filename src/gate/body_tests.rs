//! Bodies in every framing, complete and in pieces.

use super::*;
use proptest::prelude::*;

const TOO_LARGE: Refusal = bad_body(413, "too_large", "x");

fn bounds(kept_max: usize, taken_max: usize) -> Bounds {
    Bounds { taken_max, kept_max, too_large: TOO_LARGE }
}

/// The kept bytes, `true` if others were dropped, and the number of bytes behind the end; `None` for an incomplete body.
type Outcome = Result<Option<(Vec<u8>, bool, usize)>, &'static str>;

fn read(framing: Framing, bounds: Bounds, pieces: &[&[u8]]) -> Outcome {
    let mut body = Body::new(framing, bounds);
    let mut behind = None;
    for (number, piece) in pieces.iter().enumerate() {
        behind = body.feed(piece).map_err(|refusal| refusal.code)?;
        assert!(body.held_bytes() <= bounds.kept_max);
        if behind.is_some() {
            let unread: usize = pieces[number + 1..].iter().map(|piece| piece.len()).sum();
            behind = behind.map(|count| count + unread);
            break;
        }
    }
    let (kept, is_cut) = body.into_kept();
    Ok(behind.map(|behind| (kept, is_cut, behind)))
}

fn chunked(bytes: &[u8]) -> Outcome {
    read(Framing::Chunked, bounds(100, 200), &[bytes])
}

fn whole(content: &str) -> Outcome {
    Ok(Some((content.as_bytes().to_vec(), false, 0)))
}

// row 48
#[test]
fn chunks_are_put_together() {
    for (bytes, content) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1\r\nh\r\n4\r\nello\r\n000\r\n\r\n", "hello"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("00000005\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;a\r\nhello\r\n0;b=\"c d\"\r\n\r\n", "hello"),
        ("5;a=\u{e9}; b\r\nhello\r\n0\r\n\r\n", "hello"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("5\r\nhello\r\n0\r\nTrailer: x\r\nHost: evil.example\r\n\r\n", "hello"),
    ] {
        assert_eq!(chunked(bytes.as_bytes()), whole(content), "{bytes:?}");
        for end in 0..bytes.len() {
            assert_eq!(chunked(&bytes.as_bytes()[..end]), Ok(None), "{bytes:?} cut at {end}");
        }
    }
    assert_eq!(chunked(b"0\r\n\r\nGET /"), Ok(Some((Vec::new(), false, 5))), "what follows is told");
}

// row 48
#[test]
fn chunks_have_one_meaning_only() {
    for bytes in [
        "\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\rhello",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhello\r\r\n",
        "+5\r\nhello\r\n",
        "-5\r\n",
        "0x5\r\nhello\r\n",
        "5_0\r\n",
        "g\r\n",
        ";a\r\n",
        "5;a\nb\r\nhello\r\n",
        "5;a\rb\r\nhello\r\n",
        "5;\0\r\nhello\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffffffffffff\r\n",
        "0\r\n\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\nX: y\r\n z\r\n\r\n",
        "0\r\n\rX",
    ] {
        assert_eq!(chunked(bytes.as_bytes()), Err("bad_chunk"), "{bytes:?}");
    }
    let extension = |bytes: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(bytes - 3));
    assert_eq!(chunked(extension(CHUNK_LINE_BYTES_MAX).as_bytes()), whole("hello"));
    assert_eq!(chunked(extension(CHUNK_LINE_BYTES_MAX + 1).as_bytes()), Err("bad_chunk"));
    let trailer = |bytes: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(bytes - 7));
    assert_eq!(chunked(trailer(TRAILER_BYTES_MAX).as_bytes()), whole(""));
    assert_eq!(chunked(trailer(TRAILER_BYTES_MAX + 1).as_bytes()), Err("bad_chunk"));
}

// row 48
#[test]
fn chunks_are_bounded_by_what_is_in_them_and_by_their_frames() {
    assert_eq!(chunked(b"c9\r\n"), Ok(None), "a size is a promise");
    let large = |bytes: usize| format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes));
    assert_eq!(chunked(large(100).as_bytes()), Ok(Some((vec![b'x'; 100], false, 0))));
    assert_eq!(chunked(large(101).as_bytes()), Ok(Some((vec![b'x'; 100], true, 0))), "the beginning is kept");
    assert_eq!(chunked(large(200).as_bytes()), Ok(Some((vec![b'x'; 100], true, 0))));
    assert_eq!(chunked(large(201).as_bytes()), Err("too_large"));
    assert_eq!(chunked("1\r\nx\r\n".repeat(201).as_bytes()), Err("too_large"), "in all");
    let wide = bounds(usize::MAX, usize::MAX);
    let small = "1\r\nx\r\n".repeat(CHUNK_FRAMING_BYTES_MAX / 5);
    assert_eq!(read(Framing::Chunked, wide, &[small.as_bytes()]), Ok(None));
    assert_eq!(read(Framing::Chunked, wide, &[small.as_bytes(), b"1\r\nx\r\n"]), Err("too_many_chunks"));
}

// row 34
#[test]
fn of_a_body_of_a_known_length_too_the_beginning_is_kept() {
    let read = |length: usize, bytes: &[u8]| read(Framing::Length(length), bounds(3, 6), &[bytes]);
    assert_eq!(read(0, b""), Ok(Some((Vec::new(), false, 0))));
    assert_eq!(read(3, b"ab"), Ok(None));
    assert_eq!(read(3, b"abc"), Ok(Some((b"abc".to_vec(), false, 0))));
    assert_eq!(read(4, b"abcd"), Ok(Some((b"abc".to_vec(), true, 0))));
    assert_eq!(read(6, b"abcdef!"), Ok(Some((b"abc".to_vec(), true, 1))));
}

proptest! {
    /// The result does not depend on how the bytes are split into reads.
    #[test]
    fn cuts_do_not_matter(
        content in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..30), 0..12),
        damage in proptest::option::of((0_usize..400, any::<u8>())),
        cuts in proptest::collection::vec(0_usize..400, 0..6),
    ) {
        let mut bytes: Vec<u8> =
            content.iter().flat_map(|chunk| [format!("{:X};x\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).collect();
        bytes.extend_from_slice(b"0\r\nX: y\r\n\r\n");
        if let Some((place, byte)) = damage {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        let mut places: Vec<usize> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
        places.sort_unstable();
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut from = 0;
        for place in places.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[from..place]);
            from = place;
        }
        let expected = chunked(&bytes);
        prop_assert_eq!(read(Framing::Chunked, bounds(100, 200), &pieces), expected.clone());
        if damage.is_none() {
            let all: Vec<u8> = content.concat();
            let kept = all[..all.len().min(100)].to_vec();
            let whole = if all.len() > 200 { Err("too_large") } else { Ok(Some((kept, all.len() > 100, 0))) };
            prop_assert_eq!(expected, whole);
        }
    }
}
