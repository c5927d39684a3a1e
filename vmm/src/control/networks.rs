//! Networks that come and go while the VM runs.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::bus::Bus;
use crate::config::{MIN_MTU, NetworkCard};
use crate::devices::Place;
use crate::layout;
use crate::virtio::absent::Absent;
use crate::virtio::net::Net;
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
    pub fn attach(&mut self, slot: u8, card: &NetworkCard, taps: Vec<OwnedFd>) -> Result<String, String> {
        if card.mtu < MIN_MTU {
            return Err(format!("the MTU is {}, but must be at least {MIN_MTU}", card.mtu));
        }
        let (bus, place) = self.place(slot, false)?;
        let most = place.pairs;
        if !(1..=most).contains(&taps.len()) {
            return Err(format!("{} taps came along, but must be from 1 to {most}", taps.len()));
        }
        let taps: Result<Vec<_>, _> = taps.into_iter().map(Tap::new).collect();
        let taps = taps.map_err(|error| format!("what came along: {error}"))?;
        let device = Net::new(Arc::clone(&place.server), taps, card);
        bus.replace(place.device, Box::new(device)).map_err(|error| error.to_string())?;
        place.taken = true;
        Ok(layout::device_name(place.device))
    }

    /// Takes a network out of its place. Returns what was the guest's name for the device.
    ///
    /// # Errors
    /// When there is none.
    pub fn detach(&mut self, slot: u8) -> Result<String, String> {
        let (bus, place) = self.place(slot, true)?;
        bus.replace(place.device, Box::new(Absent)).map_err(|error| error.to_string())?;
        place.taken = false;
        Ok(layout::device_name(place.device))
    }

    fn place(&mut self, slot: u8, taken: bool) -> Result<(&Bus, &mut Place), String> {
        let count = self.places.len();
        match self.places.get_mut(usize::from(slot)) {
            None if count == 0 => Err("this VM has no room for another network".to_owned()),
            None => Err(format!("slot is {slot}, but must be below {count}")),
            Some(place) if place.taken != taken => {
                Err(format!("slot {slot} is {}", if taken { "empty" } else { "taken" }))
            }
            Some(place) => Ok((&self.bus, place)),
        }
    }
}
