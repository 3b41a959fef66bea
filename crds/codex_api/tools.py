"""The names that a model calls tools by. A call may have any other name too: that tool does not exist."""

EXEC_COMMAND = "exec_command"
WRITE_STDIN = "write_stdin"
APPLY_PATCH = "apply_patch"
UPDATE_PLAN = "update_plan"
VIEW_IMAGE = "view_image"
REQUEST_USER_INPUT = "request_user_input"

# The program in every sandbox that a patch becomes a run of.
PATCH_PROGRAM = "codex-apply-patch"
