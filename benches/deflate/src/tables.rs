//! What is asked, one table a question.

use crate::library::{self, Library, zlib};
use crate::measure::{self, Effort, Work};
use crate::messages::{self, Encoding, Kind};
use crate::report::{self, kilobytes, micros, percent};
use crate::stream::{Context, Stream};

pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) measure: fn(Effort) -> String,
}

pub(crate) const ALL: [Table; 6] = [
    Table {
        name: "instances",
        title: "Instances: kB (1000 bytes) that one keeps allocated, and what one costs without any message, in µs",
        measure: instances,
    },
    Table {
        name: "deflate",
        title: "Deflate, each message by itself: µs per message, and what is left of it",
        measure: deflate,
    },
    Table {
        name: "windows",
        title: "zlib-rs at level 3 by window bits and memory level, JSON: kB of an instance, µs, what is left",
        measure: windows,
    },
    Table {
        name: "sizes",
        title: "Small messages, JSON: bytes that compression saves a receiver, and µs to make it once for all of them",
        measure: sizes,
    },
    Table {
        name: "inflate",
        title: "Inflate what zlib-rs 15/8 made at level 6, each message by itself: µs per message",
        measure: inflate,
    },
    Table {
        name: "takeover",
        title: "Context takeover, JSON: what a client publishes, of one kind, deflated by zlib-rs 15/8 at level 6",
        measure: takeover,
    },
];

fn instances(effort: Effort) -> String {
    let mut libraries = library::all();
    let more = [(12, 8), (9, 6), (9, 1)];
    libraries.extend(more.map(|(window_bits, mem_level)| zlib::library(window_bits, mem_level)));
    let mut works = Vec::new();
    for library in &libraries {
        let level = library.levels()[0];
        let mut deflater = library.deflater(level);
        works.push(Work::new(64, move || (0..64).for_each(|_| deflater.reset())));
        let mut inflater = library.inflater();
        works.push(Work::new(64, move || (0..64).for_each(|_| inflater.reset())));
    }
    let times = measure::nanoseconds(works, effort);
    let mut rows = vec![heading(["library", "deflater kB", "its reset µs", "inflater kB", "its reset µs"])];
    for (library, times) in libraries.iter().zip(times.chunks(2)) {
        let bytes: Vec<String> =
            extremes(library.levels()).map(|level| kilobytes(deflater_bytes(&**library, level))).collect();
        let bytes = if bytes[0] == bytes[1] { bytes[0].clone() } else { bytes.join(" – ") };
        rows.push(vec![
            library.name(),
            bytes,
            micros(times[0]),
            kilobytes(inflater_bytes(&**library)),
            micros(times[1]),
        ]);
    }
    report::table(&rows)
}

fn deflate(effort: Effort) -> String {
    let mut text = String::new();
    for encoding in Encoding::ALL {
        let streams = [128, 1_024, 4_096, 16_384].map(|bytes| mixed(encoding, bytes, effort));
        let libraries = library::all();
        let setups: Vec<(&dyn Library, u8)> =
            libraries.iter().flat_map(|library| library.levels().iter().map(|level| (&**library, *level))).collect();
        text += &format!(
            "{}:\n\n{}\n",
            encoding.name(),
            compared(&setups, &streams, effort, |library, level| {
                vec![("library", library.name()), ("level", level.to_string())]
            })
        );
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn windows(effort: Effort) -> String {
    let ranges = [(15, 8..=8), (13, 5..=7), (12, 3..=8), (11, 4..=6), (10, 3..=6), (9, 1..=6)];
    let libraries: Vec<Box<dyn Library>> = ranges
        .into_iter()
        .flat_map(|(window_bits, levels)| levels.map(move |mem_level| zlib::library(window_bits, mem_level)))
        .collect();
    let setups: Vec<(&dyn Library, u8)> = libraries.iter().map(|library| (&**library, 3)).collect();
    let streams = [128, 1_024, 4_096, 16_384].map(|bytes| mixed(Encoding::Json, bytes, effort));
    compared(&setups, &streams, effort, |library, level| {
        vec![("library", library.name()), ("kB", kilobytes(deflater_bytes(library, level)))]
    })
}

/// A row for each library and level, and a column of times and ratios for each stream.
fn compared(
    setups: &[(&dyn Library, u8)],
    streams: &[Stream],
    effort: Effort,
    about: impl Fn(&dyn Library, u8) -> Vec<(&'static str, String)>,
) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut head = Vec::new();
    for (library, level) in setups {
        let (names, values): (Vec<_>, Vec<_>) = about(*library, *level).into_iter().unzip();
        head = names.into_iter().map(str::to_owned).collect();
        rows.push(values);
    }
    for stream in streams {
        head.push(format!("{:.0} B", stream.mean()));
        let works = setups.iter().map(|(library, level)| stream.deflate(*library, *level)).collect();
        let times = measure::nanoseconds(works, effort);
        for ((row, (library, level)), time) in rows.iter_mut().zip(setups).zip(times) {
            let ratio = stream.payloads(*library, *level).ratio();
            row.push(format!("{} · {}", micros(time), percent(ratio)));
        }
    }
    rows.insert(0, head);
    report::table(&rows)
}

fn sizes(effort: Effort) -> String {
    let mut setups = vec![(zlib::library(12, 6), 1), (zlib::library(12, 6), 2), (zlib::library(12, 6), 3)];
    setups.extend(library::libdeflate::library().map(|library| (library, 1)));
    let mut head = vec!["bytes".to_owned()];
    for (library, level) in &setups {
        head.push(format!("{}, level {level}", library.name()));
    }
    let mut rows = vec![head];
    for bytes in [128, 160, 192, 256, 384, 512, 768, 1_024, 1_536, 2_048] {
        let stream = mixed(Encoding::Json, bytes, effort);
        let works = setups.iter().map(|(library, level)| stream.deflate(&**library, *level)).collect();
        let times = measure::nanoseconds(works, effort);
        let mut row = vec![format!("{:.0}", stream.mean())];
        for ((library, level), time) in setups.iter().zip(times) {
            let saved = stream.mean() - stream.payloads(&**library, *level).mean();
            row.push(format!("{saved:.0} ({:.0} %) · {}", saved / stream.mean() * 100.0, micros(time)));
        }
        rows.push(row);
    }
    report::table(&rows)
}

fn inflate(effort: Effort) -> String {
    let libraries = library::each();
    let mut head = vec!["library".to_owned()];
    let mut rows: Vec<Vec<String>> = libraries.iter().map(|library| vec![library.name()]).collect();
    for encoding in Encoding::ALL {
        for bytes in [128, 1_024, 16_384] {
            let stream = mixed(encoding, bytes, effort);
            let payloads = stream.payloads(&*zlib::library(15, 8), 6);
            head.push(format!("{} {:.0} B", encoding.name(), stream.mean()));
            let works = libraries.iter().map(|library| payloads.inflate(&**library)).collect();
            for (row, time) in rows.iter_mut().zip(measure::nanoseconds(works, effort)) {
                row.push(micros(time));
            }
        }
    }
    rows.insert(0, head);
    report::table(&rows)
}

fn takeover(effort: Effort) -> String {
    let library = zlib::library(15, 8);
    let mut rows = vec![heading([
        "bytes",
        "by itself",
        "with takeover",
        "inflate µs by itself",
        "with takeover",
        "deflate µs by itself",
        "with takeover",
    ])];
    for bytes in [128, 256, 512, 1_024, 4_096, 16_384] {
        // Figures of both contexts, summed over the kinds.
        let mut ratios = [0.0; 2];
        let mut works = Vec::new();
        let mut mean = 0.0;
        for kind in Kind::ALL {
            for (context, ratio) in [Context::Fresh, Context::Kept].into_iter().zip(&mut ratios) {
                let stream = Stream::new(messages::published(Encoding::Json, bytes, effort.messages, kind), context);
                mean += stream.mean() / 8.0;
                let payloads = stream.payloads(&*library, 6);
                *ratio += payloads.ratio() / 4.0;
                works.push(payloads.inflate(&*library));
                works.push(stream.deflate(&*library, 6));
            }
        }
        let times = measure::nanoseconds(works, effort);
        let time = |nth: usize| micros(times.iter().skip(nth).step_by(4).sum::<f64>() / 4.0);
        rows.push(vec![
            format!("{mean:.0}"),
            percent(ratios[0]),
            percent(ratios[1]),
            time(0),
            time(2),
            time(1),
            time(3),
        ]);
    }
    report::table(&rows)
}

fn mixed(encoding: Encoding, bytes: usize, effort: Effort) -> Stream {
    // Of large messages fewer are as hard to learn.
    let count = (effort.messages * 4_096 / bytes).clamp(1, effort.messages);
    Stream::new(messages::mixed(encoding, bytes, count), Context::Fresh)
}

fn deflater_bytes(library: &dyn Library, level: u8) -> usize {
    let message = &messages::mixed(Encoding::Json, 16_384, 1)[0];
    let mut room = vec![0; 2 * message.len()];
    measure::bytes(|| {
        let mut deflater = library.deflater(level);
        deflater.deflate(message, &mut room);
        deflater
    })
}

fn inflater_bytes(library: &dyn Library) -> usize {
    // A stored block of one byte and the header of an empty one, so that what is allocated late is there.
    let payload = [0x00, 0x01, 0x00, 0xfe, 0xff, b'a', 0x00];
    let mut room = [0; 64];
    measure::bytes(|| {
        let mut inflater = library.inflater();
        let payload = [&payload, inflater.tail()].concat();
        assert_eq!(inflater.inflate(&payload, &mut room), 1, "one byte");
        inflater
    })
}

fn extremes(levels: &[u8]) -> impl Iterator<Item = u8> {
    levels.first().into_iter().chain(levels.last()).copied()
}

fn heading<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}
