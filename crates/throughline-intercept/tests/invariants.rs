//! The ten invariants of the data plane, each by its number.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use throughline_intercept::kafka::{Cluster, Known, Peer, Session, Settings};
use throughline_intercept::{KafkaSession, Side};

#[derive(Debug, Clone, Default)]
struct Process(Rc<RefCell<Known>>);

impl Cluster for Process {
    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.borrow_mut())
    }
}

#[test]
fn invariant_01_identity_bytes_without_meaning_come_out_as_they_went_in() {
    let mut session: KafkaSession<Process> =
        Session::new(Arc::new(Settings::default()), Process::default(), Peer::default(), 7);
    let mut out = Vec::new();
    let frame = [&[0, 0, 0, 12, 0x7f, 0x7f, 0, 1, 0, 0, 0, 9, 0, 0, 1, 2][..], &[0, 0]].concat();
    for byte in &frame {
        session.handle_bytes(Side::Client, 1, Bytes::copy_from_slice(&[*byte]));
    }
    session.handle_close(Side::Client, 2);
    while let Some((to, bytes)) = session.poll_transmit() {
        assert_eq!(to, Side::Broker);
        out.extend_from_slice(&bytes);
    }
    assert_eq!(out, frame);
}
