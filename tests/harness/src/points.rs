//! Selects the calls of a run to disturb, if there are too many to try all.

/// Selects at most `limit` of the calls, in order: first the calls that differ from the call
/// before, then the repeated calls (such as the hundredth block of one file), evenly spread.
pub fn choose(calls: &[String], limit: Option<usize>) -> Vec<usize> {
    let limit = limit.unwrap_or(calls.len());
    let is_new = |&place: &usize| place == 0 || calls[place] != calls[place - 1];
    let (new, repeated): (Vec<usize>, Vec<usize>) = (0..calls.len()).partition(is_new);
    let mut chosen = evenly(&new, limit);
    let room = limit - chosen.len();
    chosen.extend(evenly(&repeated, room));
    chosen.sort_unstable();
    chosen
}

fn evenly(places: &[usize], limit: usize) -> Vec<usize> {
    let wanted = limit.min(places.len());
    // The first and the last among them: the end is where things get their names.
    (0..wanted).map(|step| places[step * (places.len() - 1) / (wanted - 1).max(1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choose_limit_prefers_new_calls_to_repeated_calls() {
        let calls: Vec<String> = "a b b b b c".split(' ').map(str::to_owned).collect();
        assert_eq!(choose(&calls, None), [0, 1, 2, 3, 4, 5]);
        assert_eq!(choose(&calls, Some(3)), [0, 1, 5]);
        assert_eq!(choose(&calls, Some(5)), [0, 1, 2, 4, 5]);
        assert_eq!(choose(&calls, Some(1)), [0]);
        assert!(choose(&[], Some(3)).is_empty());
    }
}
