//! What Python packages an image of ours has: the bento's own, without the original tool, and what the SDK needs.

use crate::pydeps::Requirements;

/// What the SDK, which takes the place of the original tool, needs.
const SDK_REQUIREMENTS: [&str; 4] = ["pydantic>=2", "numpy", "PyYAML", "cloudpickle"];

/// Without the original tool, and with what the SDK needs.
pub(super) fn for_our_images(mut requirements: Requirements) -> Requirements {
    requirements.lines.retain(|line| !names_original_tool(line));
    requirements.lines.extend(SDK_REQUIREMENTS.map(str::to_owned));
    requirements.constraints.retain(|line| !names_original_tool(line));
    requirements
}

/// Whether a requirement line is about the original tool itself.
pub(super) fn names_original_tool(line: &str) -> bool {
    let rest = line.trim().strip_prefix("bentoml");
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(['=', '<', '>', '~', '!', '[', ' ', '@', ';'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tool_itself_is_left_out() {
        for line in ["bentoml==1.4.39", "bentoml", " bentoml[io]>=1", "bentoml @ file:///x"] {
            assert!(names_original_tool(line), "{line}");
        }
        for line in ["bentoml-extras==1", "numpy", "# bentoml", ""] {
            assert!(!names_original_tool(line), "{line}");
        }
    }

    #[test]
    fn the_sdk_takes_the_place_of_the_tool() {
        let lines = ["bentoml==1.4.1", "bentoml-extras"].map(str::to_owned).to_vec();
        let ours = for_our_images(Requirements { lines, ..Requirements::default() });
        assert_eq!(ours.lines, ["bentoml-extras", "pydantic>=2", "numpy", "PyYAML", "cloudpickle"]);
    }
}
