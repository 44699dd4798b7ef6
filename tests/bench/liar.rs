//! A server that passes each frame on to everybody, and now and then not as it should.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio_tungstenite::tungstenite::{Message, WebSocket, accept};

/// What it does with every tenth message, the fifth first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lie {
    Nothing,
    /// It is not passed on.
    Lose,
    /// It is passed on twice.
    Repeat,
    /// It is passed on after the next one.
    Swap,
    /// One byte of it is changed.
    Change,
    /// Once, and for so long, nothing at all is read.
    Stall(Duration),
}

/// Starts it, and returns its address. Its threads end with the test.
pub(crate) fn start(lie: Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let all: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let all = all.clone();
            thread::spawn(move || serve(stream, lie, &all));
        }
    });
    url
}

fn serve(stream: TcpStream, lie: Lie, all: &Mutex<Vec<TcpStream>>) {
    let Ok(mut socket) = accept(stream) else {
        return;
    };
    // Frames to all are written to the streams below, and this one says nothing by itself.
    let own = socket.get_ref().try_clone().expect("another handle");
    all.lock().expect("nobody panics").push(own);
    let (mut count, mut held) = (0, None);
    while let Ok(message) = socket.read() {
        let Message::Text(text) = message else {
            continue;
        };
        let text = text.as_str().to_owned();
        count += 1;
        let odd = count % 10 == 5;
        if let (Lie::Stall(time), 5) = (lie, count) {
            thread::sleep(time);
        }
        let out = match lie {
            Lie::Lose if odd => vec![],
            Lie::Repeat if odd => vec![text.clone(), text],
            Lie::Swap if odd => {
                held = Some(text);
                vec![]
            }
            Lie::Change if odd => vec![text.replacen('o', "0", 1)],
            _ => [Some(text), held.take()].into_iter().flatten().collect(),
        };
        for text in out {
            pass_on(&text, all);
        }
    }
}

fn pass_on(text: &str, all: &Mutex<Vec<TcpStream>>) {
    for stream in all.lock().expect("nobody panics").iter() {
        let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
        // One that has left takes nothing more.
        let _ = WebSocket::from_raw_socket(stream, role, None).send(Message::text(text));
    }
}
