//! Environment variables of processes.

/// The search path of a container whose image names none, Docker's.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables `image`, each `NAME=VALUE`, overridden by those of `user`; a user's `NAME` without a value takes one
/// away. PATH is Docker's where neither names one.
pub fn merge_env(image: &[String], user: &[String]) -> Vec<String> {
    fn name(variable: &str) -> &str {
        variable.split_once('=').map_or(variable, |(name, _)| name)
    }
    let mut merged: Vec<String> = Vec::new();
    for variable in image.iter().chain(user) {
        let known = merged.iter().position(|other| name(other) == name(variable));
        match (known, variable.contains('=')) {
            (Some(at), true) => merged[at].clone_from(variable),
            (Some(at), false) => {
                merged.remove(at);
            }
            (None, true) => merged.push(variable.clone()),
            (None, false) => {}
        }
    }
    if !merged.iter().any(|variable| name(variable) == "PATH") {
        merged.insert(0, DEFAULT_PATH.to_owned());
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_merge_by_name() {
        let image = ["PATH=/bin".to_owned(), "A=1".to_owned(), "B=2".to_owned()];
        let user = ["A=one=1".to_owned(), "C=3".to_owned(), "B".to_owned(), "D".to_owned()];
        assert_eq!(merge_env(&image, &user), ["PATH=/bin", "A=one=1", "C=3"]);
        assert_eq!(merge_env(&[], &[]), [DEFAULT_PATH]);
    }
}
