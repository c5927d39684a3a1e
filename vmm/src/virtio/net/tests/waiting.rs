//! What a limit or a pause makes wait comes later, whole and in order.

use super::*;
use crate::virtio::rate::RateLimit;

#[test]
fn limits_slow_down_and_lose_nothing() {
    let limit = Some(RateLimit { per_second: 100_000, burst: 1 });
    let (net, hosts) = net(1, &NetworkCard { receive: limit, send: limit, ..CARD });
    let gates = Arc::clone(&net.gates);
    let mut driver = Driver::start(net, MERGEABLE);
    for number in 0..20 {
        driver.add(TX, &[Part::Read(&frame(number, 1000))]);
        driver.add(RX, &[Part::Write(1500)]);
        hosts[0].send(&frame(number, 1000)).unwrap();
    }
    for _ in 20..80 {
        driver.add(RX, &[Part::Write(1500)]);
    }
    driver.kick(TX);
    driver.kick(RX);
    for number in 0..20 {
        assert_eq!(receive(&hosts[0])[12], number as u8 | 1);
        driver.wait_used(TX);
        let (head, _) = driver.wait_used(RX);
        assert_eq!(driver.written(head)[12], number as u8 | 1);
    }
    // What is overdrawn stays so when the guest resets the device.
    gates.lock().unwrap().send.pass(1 << 30);
    let mut driver = driver.restart();
    driver.add(TX, &[Part::Read(&frame(1, 1000))]);
    driver.kick(TX);
    assert!(gates.lock().unwrap().send.wait().is_some_and(|wait| wait.as_secs() > 1000));
    // Stops although it waits.
    driver.restart();
}

/// Both directions, a full tap and a changed number of pairs: a pause loses none of it.
#[test]
fn a_pause_loses_nothing() {
    let (net, hosts) = net(2, &CARD);
    const CONTROL: usize = 4;
    let mut driver = Driver::start(net, MERGEABLE | 1 << VIRTIO_NET_F_MQ | 1 << VIRTIO_NET_F_CTRL_VQ);
    driver.add(CONTROL, &[Part::Read(&[4, 0, 2, 0]), Part::Write(1)]);
    driver.kick(CONTROL);
    driver.wait_used(CONTROL);
    const FRAMES: usize = 200;
    for number in 0..FRAMES {
        driver.add(TX, &[Part::Read(&frame(number, 3000))]);
    }
    driver.kick(TX);
    driver.lifecycle().pause().unwrap();
    for _ in 0..100 {
        driver.add(2 + RX, &[Part::Write(1500)]);
    }
    driver.kick(2 + RX);
    hosts[1].send(&frame(77, 100)).unwrap();
    assert_eq!(driver.try_used(2 + RX), None);
    driver.lifecycle().resume().unwrap();
    assert_eq!(driver.wait_used(2 + RX).1, 112);
    for number in 0..FRAMES {
        assert_eq!(receive(&hosts[0])[12], number as u8 | 1);
        if number % 50 == 0 {
            driver.lifecycle().pause().unwrap();
            driver.lifecycle().resume().unwrap();
        }
    }
    for _ in 0..FRAMES {
        driver.wait_used(TX);
    }
    assert!(!driver.needs_reset());
}
