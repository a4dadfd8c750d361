//! The bucket of a world, with the outside place that sinks write to.

use std::collections::BTreeMap;

use bytes::Bytes;
use weir_checkpoint::journal::{Boundary, Request, Response, decode_boundary, encode_boundary};
use weir_checkpoint::{Manifest, Slot};

/// What is stored now. Everything happens at once, and is durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimStore {
    pub(crate) records: BTreeMap<Slot, Bytes>,
    pub(crate) boundary: Option<Bytes>,
    pub(crate) manifests: BTreeMap<String, Manifest>,
    pub(crate) data: BTreeMap<String, u64>,
    /// Visible output: name to rows.
    pub(crate) visible: BTreeMap<String, Vec<u32>>,
}

impl SimStore {
    /// Carries out a request of the journal's machines.
    pub(crate) fn ask(&mut self, request: &Request) -> Response {
        match request {
            Request::Create { slot, bytes } => match self.records.contains_key(slot) {
                true => Response::Exists,
                false => {
                    self.records.insert(*slot, bytes.clone());
                    Response::Created
                }
            },
            Request::CreateBoundary { bytes } => match self.boundary {
                Some(_) => Response::Exists,
                None => {
                    self.boundary = Some(bytes.clone());
                    Response::Created
                }
            },
            Request::Read { slots } => {
                Response::Records(slots.iter().map(|slot| self.records.get(slot).cloned()).collect())
            }
            Request::ReadBoundary => Response::Boundary(self.boundary.clone()),
            Request::ListSlots => Response::Slots(self.records.keys().copied().collect()),
            Request::ListRemains => Response::Remains(!self.data.is_empty() || !self.manifests.is_empty()),
        }
    }

    /// Where the boundary is.
    pub(crate) fn boundary(&self) -> Slot {
        self.boundary.as_deref().and_then(|bytes| decode_boundary(bytes).ok()).map_or(Slot(0), |b| b.slot)
    }

    /// Moves the boundary to at least there, as a compare-and-swap does.
    pub(crate) fn move_boundary(&mut self, to: Slot, nonce: String) {
        if self.boundary() < to {
            self.boundary = encode_boundary(&Boundary { slot: to, nonce }).ok();
        }
    }
}
