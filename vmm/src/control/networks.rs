//! Networks that come and go while the VM runs.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::refusal::Refusal;
use crate::bus::Bus;
use crate::config::{MIN_MTU, NetworkCard};
use crate::layout;
use crate::virtio::absent::Absent;
use crate::virtio::net::Net;
use crate::virtio::net::place::Place;
use crate::virtio::net::tap::Tap;

/// All places.
pub struct Networks {
    bus: Arc<Bus>,
    places: Vec<Place>,
}

impl Networks {
    /// The places on `bus`.
    pub fn new(bus: Arc<Bus>, places: Vec<Place>) -> Self {
        Self { bus, places }
    }

    /// Puts a network into a free place. Returns the guest's name for the device.
    ///
    /// # Errors
    /// What is wrong with the place, the card or the taps; nothing has happened then.
    pub fn attach(&mut self, slot: u8, card: &NetworkCard, taps: Vec<OwnedFd>) -> Result<String, Refusal> {
        if card.mtu < MIN_MTU {
            return Err(Refusal::Mtu(card.mtu));
        }
        let (bus, place) = self.place(slot, false)?;
        let (count, most) = (taps.len(), place.pairs);
        if !(1..=most).contains(&count) {
            return Err(Refusal::Taps { count, most });
        }
        let taps = taps.into_iter().map(Tap::new).collect::<Result<_, _>>()?;
        let device = Net::new(Arc::clone(&place.server), taps, card);
        bus.replace(place.device, Box::new(device))?;
        place.taken = true;
        Ok(layout::device_name(place.device))
    }

    /// Takes a network out of its place. Returns what was the guest's name for the device.
    ///
    /// # Errors
    /// When there is none.
    pub fn detach(&mut self, slot: u8) -> Result<String, Refusal> {
        let (bus, place) = self.place(slot, true)?;
        bus.replace(place.device, Box::new(Absent))?;
        place.taken = false;
        Ok(layout::device_name(place.device))
    }

    fn place(&mut self, slot: u8, taken: bool) -> Result<(&Bus, &mut Place), Refusal> {
        let count = self.places.len();
        match self.places.get_mut(usize::from(slot)) {
            None if count == 0 => Err(Refusal::NoPlaces),
            None => Err(Refusal::NoSlot { slot, count }),
            Some(place) if place.taken != taken => {
                Err(if taken { Refusal::Empty(slot) } else { Refusal::Occupied(slot) })
            }
            Some(place) => Ok((&self.bus, place)),
        }
    }
}
