//! An image that is not there.

use serde_json::json;
use weir_e2e::story::{condition, has_reason};
use weir_e2e::{Job, Story};

#[test]
fn an_image_that_is_not_there_is_told_and_the_next_spec_runs() {
    let story = Story::begin("bad-image");
    let job = Job::new("unpulled");
    story.apply(&job.clone().with("worker.image", json!("weir.local/not-there:1")));
    let told = story.until(&job, "the problem is told", |job| has_reason(job, "ImagePullFailed"));
    assert_eq!(condition(&told, "Ready"), Some("False"));
    let conditions = told["status"]["conditions"].to_string();
    assert!(conditions.contains("weir.local/not-there:1"), "the message names the image: {conditions}");

    story.apply(&job);
    story.until_checkpoints(&job, 1);
    story.finish(&job);
}
