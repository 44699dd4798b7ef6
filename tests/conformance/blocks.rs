//! DEFLATE (RFC 1951) by hand: blocks written symbol by symbol, and an inflater that is slow, obvious and
//! notes how far back it was sent.

/// A symbol of a compressed block.
#[derive(Clone, Copy)]
pub(crate) enum Symbol {
    Byte(u8),
    /// So many bytes, from so far back.
    Copy {
        length: usize,
        distance: usize,
    },
}

/// The payload of a compressed message (RFC 7692, 7.2.1): one block with fixed codes, and the end of a
/// flush without the four bytes that are not sent.
pub(crate) fn message(symbols: impl IntoIterator<Item = Symbol>) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.number(0b010, 3);
    for symbol in symbols {
        bits.symbol(symbol);
    }
    bits.symbol_code(256);
    bits.number(0b000, 3);
    bits.bytes
}

/// `payload` without any copies.
pub(crate) fn literal(payload: &[u8]) -> Vec<u8> {
    message(payload.iter().map(|&byte| Symbol::Byte(byte)))
}

/// As many zeros, in about the fewest bytes that these codes allow.
pub(crate) fn zeros(count: usize) -> Vec<u8> {
    let copies = (count - 1) / 258;
    let rest = count - copies * 258;
    let copy = Symbol::Copy { length: 258, distance: 1 };
    message(std::iter::repeat_n(Symbol::Byte(0), rest).chain(std::iter::repeat_n(copy, copies)))
}

/// Stored blocks of at most so many bytes each.
pub(crate) fn stored(payload: &[u8], block_bytes_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for block in payload.chunks(block_bytes_max) {
        let length = u16::try_from(block.len()).expect("a stored block has up to 65,535 bytes");
        bytes.push(0);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(!length).to_le_bytes());
        bytes.extend_from_slice(block);
    }
    bytes.push(0);
    bytes
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are taken, 0 to 7; at 0 a byte has to be added.
    taken: u8,
}

impl BitWriter {
    fn bit(&mut self, bit: u8) {
        if self.taken == 0 {
            self.bytes.push(0);
        }
        *self.bytes.last_mut().expect("just seen to") |= bit << self.taken;
        self.taken = (self.taken + 1) % 8;
    }

    /// RFC 1951, 3.1.1: numbers begin with their least significant bit,
    fn number(&mut self, number: usize, bits: u8) {
        (0..bits).for_each(|bit| self.bit((number >> bit & 1) as u8));
    }

    /// and codes with their most significant one.
    fn code(&mut self, code: usize, bits: u8) {
        (0..bits).rev().for_each(|bit| self.bit((code >> bit & 1) as u8));
    }

    /// RFC 1951, 3.2.6.
    fn symbol_code(&mut self, symbol: usize) {
        match symbol {
            0..=143 => self.code(0x30 + symbol, 8),
            144..=255 => self.code(0x190 + symbol - 144, 9),
            256..=279 => self.code(symbol - 256, 7),
            _ => self.code(0xC0 + symbol - 280, 8),
        }
    }

    fn symbol(&mut self, symbol: Symbol) {
        let (length, distance) = match symbol {
            Symbol::Byte(byte) => return self.symbol_code(usize::from(byte)),
            Symbol::Copy { length, distance } => (length, distance),
        };
        let at = (0..29).rfind(|&at| length_base(at).0 <= length).expect("a length of at least 3");
        let (base, extra) = length_base(at);
        self.symbol_code(257 + at);
        self.number(length - base, extra);
        let at = (0..30).rfind(|&at| distance_base(at).0 <= distance).expect("a distance of at least 1");
        let (base, extra) = distance_base(at);
        self.code(at, 5);
        self.number(distance - base, extra);
    }
}

/// The least length of each code after 256, and how many bits follow (RFC 1951, 3.2.5).
fn length_base(at: usize) -> (usize, u8) {
    match at {
        0..8 => (3 + at, 0),
        28 => (258, 0),
        _ => {
            let extra = at / 4 - 1;
            (3 + ((4 + at % 4) << extra), extra as u8)
        }
    }
}

/// The least distance of each code, and how many bits follow.
fn distance_base(at: usize) -> (usize, u8) {
    match at {
        0..4 => (1 + at, 0),
        _ => {
            let extra = at / 2 - 1;
            (1 + ((2 + at % 2) << extra), extra as u8)
        }
    }
}

/// A message as it was before, and the longest distance in it. It may refer to nothing before itself.
pub(crate) fn inflate(payload: &[u8]) -> (Vec<u8>, usize) {
    let whole = [payload, &[0x00, 0x00, 0xFF, 0xFF]].concat();
    let mut bits = BitReader { bytes: &whole, at: 0 };
    let (mut out, mut distance_max) = (Vec::new(), 0);
    while bits.at < whole.len() * 8 {
        let last = bits.number(1);
        assert_eq!(last, 0, "this server sends no last blocks");
        let (lengths, distances) = match bits.number(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let length = bits.number(16);
                assert_eq!(bits.number(16), length ^ 0xFFFF);
                out.extend((0..length).map(|_| bits.number(8) as u8));
                continue;
            }
            1 => fixed_codes(),
            2 => bits.codes(),
            _ => panic!("a kind of block that does not exist"),
        };
        loop {
            let symbol = bits.symbol(&lengths);
            match symbol {
                0..256 => out.push(symbol as u8),
                256 => break,
                _ => {
                    let (base, extra) = length_base(symbol - 257);
                    let length = base + bits.number(extra);
                    let (base, extra) = distance_base(bits.symbol(&distances));
                    let distance = base + bits.number(extra);
                    distance_max = distance_max.max(distance);
                    let start = out.len().checked_sub(distance).expect("it refers to before the message");
                    (start..start + length).for_each(|from| out.push(out[from]));
                }
            }
        }
    }
    (out, distance_max)
}

/// Pairs of a code's bits, behind a leading 1, and its symbol, sorted.
type Codes = Vec<(usize, usize)>;

/// RFC 1951, 3.2.2: codes from their lengths.
fn codes_of(lengths: &[usize]) -> Codes {
    let (mut codes, mut next) = (Vec::new(), 0);
    for length in 1..=15 {
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, known)| **known == length) {
            codes.push((1 << length | next, symbol));
            next += 1;
        }
        next <<= 1;
    }
    codes.sort_unstable();
    codes
}

fn fixed_codes() -> (Codes, Codes) {
    let lengths: Vec<usize> = [(144, 8), (112, 9), (24, 7), (8, 8)].iter().flat_map(|&(n, len)| vec![len; n]).collect();
    (codes_of(&lengths), codes_of(&[5; 30]))
}

struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl BitReader<'_> {
    fn bit(&mut self) -> usize {
        let bit = self.bytes.get(self.at / 8).expect("the message ends inside a block") >> (self.at % 8) & 1;
        self.at += 1;
        usize::from(bit)
    }

    fn number(&mut self, bits: u8) -> usize {
        (0..bits).map(|bit| self.bit() << bit).sum()
    }

    fn symbol(&mut self, codes: &Codes) -> usize {
        let mut code = 1;
        loop {
            code = code << 1 | self.bit();
            assert!(code < 1 << 16, "not a code");
            if let Ok(found) = codes.binary_search_by_key(&code, |(code, _)| *code) {
                return codes[found].1;
            }
        }
    }

    /// RFC 1951, 3.2.7: the codes of a block that brings its own.
    fn codes(&mut self) -> (Codes, Codes) {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let (literals, distances, kinds) = (self.number(5) + 257, self.number(5) + 1, self.number(4) + 4);
        let mut lengths = [0; 19];
        ORDER[..kinds].iter().for_each(|&at| lengths[at] = self.number(3));
        let codes = codes_of(&lengths);
        let mut lengths = Vec::new();
        while lengths.len() < literals + distances {
            let (length, count) = match self.symbol(&codes) {
                16 => (*lengths.last().expect("there is one to repeat"), 3 + self.number(2)),
                17 => (0, 3 + self.number(3)),
                18 => (0, 11 + self.number(7)),
                length => (length, 1),
            };
            lengths.extend(std::iter::repeat_n(length, count));
        }
        (codes_of(&lengths[..literals]), codes_of(&lengths[literals..]))
    }
}

#[test]
fn what_is_written_by_hand_can_be_read_by_hand() {
    let copies =
        [(3, 1), (10, 5), (258, 13), (257, 250), (11, 500)].map(|(length, distance)| Symbol::Copy { length, distance });
    let symbols = b"\x00\x8f\x90\xff plain text".iter().map(|&byte| Symbol::Byte(byte)).chain(copies);
    let (out, distance_max) = inflate(&message(symbols));
    assert_eq!((out.len(), distance_max), (15 + 3 + 10 + 258 + 257 + 11, 500));
    assert_eq!(inflate(&zeros(1000)), (vec![0; 1000], 1));
    assert_eq!(inflate(&stored(b"Hello", 2)), (b"Hello".to_vec(), 0));
    // RFC 7692, 7.2.3.1.
    assert_eq!(literal(b"Hello"), [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]);
}
