//! Networks that come and go while the VM runs.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::bus::Bus;
use crate::config::{MIN_MTU, NetworkCard};
use crate::virtio::absent::Absent;
use crate::virtio::net::tap::Tap;
use crate::virtio::net::{self, Net};

/// A place for a network.
struct Place {
    /// Its device's number on the bus.
    device: usize,
    server: net::Server,
    taken: bool,
}

/// All places.
pub struct Networks {
    bus: Arc<Bus>,
    places: Vec<Place>,
    /// The most queue pairs of a network in one of them.
    pairs: usize,
}

impl Networks {
    /// Free places: for each the device's number on `bus` and the thread that will serve it.
    pub fn new(bus: Arc<Bus>, spares: Vec<(usize, net::Server)>, pairs: usize) -> Self {
        let places =
            spares.into_iter().map(|(device, server)| Place { device, server, taken: false }).collect();
        Self { bus, places, pairs }
    }

    /// Puts a network into a free place. Returns the guest's name for the device.
    ///
    /// # Errors
    /// What is wrong with the place, the card or the taps; nothing has happened then.
    pub fn attach(&mut self, slot: u8, card: &NetworkCard, taps: Vec<OwnedFd>) -> Result<String, String> {
        let most = self.pairs;
        if !(1..=most).contains(&taps.len()) {
            return Err(format!("{} taps came along, but must be from 1 to {most}", taps.len()));
        }
        if card.mtu < MIN_MTU {
            return Err(format!("the MTU is {}, but must be at least {MIN_MTU}", card.mtu));
        }
        let (bus, place) = self.place(slot, false)?;
        let taps: Result<Vec<_>, _> = taps.into_iter().map(Tap::new).collect();
        let taps = taps.map_err(|error| format!("what came along: {error}"))?;
        let device = Net::new(Arc::clone(&place.server), taps, card);
        bus.replace(place.device, Box::new(device)).map_err(|error| error.to_string())?;
        place.taken = true;
        Ok(name(place.device))
    }

    /// Takes a network out of its place. Returns what was the guest's name for the device.
    ///
    /// # Errors
    /// When there is none.
    pub fn detach(&mut self, slot: u8) -> Result<String, String> {
        let (bus, place) = self.place(slot, true)?;
        bus.replace(place.device, Box::new(Absent)).map_err(|error| error.to_string())?;
        place.taken = false;
        Ok(name(place.device))
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

/// Linux numbers the devices of its command line in their order (drivers/virtio/virtio_mmio.c).
fn name(device: usize) -> String {
    format!("virtio-mmio.{device}")
}
