//! How a call's room is divided.

/// How many tokens each job gets of a call that takes `room`, given what each still has to run. Nobody gets more than it has, and what
/// it leaves goes to the others in equal parts: replies, which need one token, get it before any prompt gets a second one.
pub fn share(pending: &[usize], room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pending.len()).collect();
    order.sort_by_key(|&job| pending[job]);
    let mut shares = vec![0; pending.len()];
    let mut rest = room;
    for (before, &job) in order.iter().enumerate() {
        shares[job] = pending[job].min(rest.div_ceil(order.len() - before));
        rest -= shares[job];
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn replies_come_first_and_prompts_share_what_is_left() {
        assert_eq!(share(&[1, 500, 1, 500], 256), [1, 127, 1, 127]);
        assert_eq!(share(&[1, 20, 500], 256), [1, 20, 235]);
        assert_eq!(share(&[700], 256), [256]);
        assert_eq!(share(&[5, 5], 256), [5, 5]);
        assert_eq!(share(&[], 256), [0; 0]);
    }

    #[test]
    fn no_room_is_wasted_and_none_is_overdrawn() {
        for case in 0..500usize {
            let pending: Vec<usize> = (0..case % 9).map(|i| 1 + (case * 31 + i * i * 17) % 300).collect();
            let room = 9 + case % 64;
            let shares = share(&pending, room);
            assert_eq!(shares.iter().sum::<usize>(), room.min(pending.iter().sum()), "{pending:?} in {room}");
            assert!(shares.iter().zip(&pending).all(|(share, pending)| (1..=*pending).contains(share)));
        }
    }
}
