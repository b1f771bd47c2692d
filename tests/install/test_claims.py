# SPDX-License-Identifier: MIT
"""What an installer of patch sets has to do, and which tests here show it; the table cannot outlive them."""

import re
from pathlib import Path

import pytest

CLAIMS = {
    "an unknown tree is refused before any write, and the supported ones named":
        ["test_unknown_version_names_the_supported_ones"],
    "patch sets for several releases live side by side; content chooses, no tag's name":
        ["test_version_is_chosen_by_content_not_by_tag_or_declaration"],
    "lint finds missing, unlisted, duplicate, empty, unparsable and converted patches":
        ["test_missing_patch", "test_unlisted_patch", "test_bad_series", "test_damaged_patch"],
    "header fields and pre-images are there; one changed byte fails":
        ["test_damaged_patch", "test_every_changed_byte_of_a_diff_fails",
         "test_pre_image_that_is_not_the_release"],
    "header lines that git would apply are rejected":
        ["test_damaged_patch"],
    "a check leaves work tree, index, refs and objects as they were":
        ["test_planning_changes_nothing", "test_drift_writes_nothing"],
    "a check is cumulative over the series and reports every failing patch":
        ["test_failure_in_a_later_patch_leaves_the_checkout_and_reports_all",
         "test_every_failing_patch_is_reported",
         "test_every_bad_patch_is_reported_not_only_the_first"],
    "failure in a later patch leaves the checkout byte for byte":
        ["test_failure_in_a_later_patch_leaves_the_checkout_and_reports_all"],
    "killed at any step, the next run leaves the old tree or the new":
        ["test_kill_at_every_step_then_old_or_new"],
    "the record is written atomically and last; a damaged one is diagnosed":
        ["test_kill_at_every_step_then_old_or_new", "test_damaged_state_is_diagnosed",
         "test_damaged_journal_is_diagnosed"],
    "a second run changes nothing":
        ["test_second_install_changes_nothing"],
    "a newer patch set replaces an older one in place":
        ["test_newer_patch_set_upgrades_in_place"],
    "an edited target is refused and named; other edits survive":
        ["test_user_edited_target_is_refused_and_named", "test_edit_after_install_is_refused_and_named",
         "test_unrelated_edits_survive", "test_staged_edits_and_stash_survive"],
    "every file is pristine, applied, edited or missing, by its blob id":
        ["test_state_of_every_file"],
    "the overlay overwrites no other file, ignored ones included":
        ["test_overlay_never_overwrites_a_differing_file", "test_overlay_never_overwrites_an_ignored_file"],
    "uninstall restores bytes and modes, removes its own files only, refuses on edits":
        ["test_uninstall_restores_exact_bytes_and_modes", "test_edit_after_install_is_refused_and_named",
         "test_uninstall_keeps_files_of_the_users_in_our_directories"],
    "data, outputs and environments survive; no sweeping git command is in the code":
        ["test_unrelated_edits_survive", "test_no_sweeping_git_command_in_the_code"],
    "hostile paths, names and modes are rejected, for patches and overlay":
        ["test_hostile_names_are_refused", "test_no_accepted_name_leaves_the_checkout",
         "test_no_patch_escapes",
         "test_hostile_patch_is_refused", "test_rename_header_that_differs_from_the_diff",
         "test_overlay_holds_regular_files_only", "test_overlay_file_named_like_the_git_directory"],
    "a linked parent directory is refused and nothing is written outside":
        ["test_linked_parent_directory_is_refused", "test_link_slipped_in_while_the_installer_runs"],
    "odd repositories work or are refused clearly":
        ["test_subdirectory_stands_for_its_clone", "test_copy_inside_another_repository_is_refused",
         "test_linked_worktree_has_a_record_of_its_own", "test_shallow_clone",
         "test_repository_without_history",
         "test_repository_of_another_user_is_refused_with_the_remedy", "test_what_is_not_a_lerobot_clone"],
    "hostile git configuration and leaked variables change no byte":
        ["test_hostile_git_configuration_changes_no_byte", "test_leaked_git_variable_changes_no_byte",
         "test_leaked_configuration_in_variables_changes_no_byte"],
    "no fuzz; other places are labelled and lie in the expected function":
        ["test_shifted_place_is_moved_with_its_offset_and_function", "test_three_way_placement_is_labelled",
         "test_equal_lines_in_another_function_are_no_place"],
    "a patch that upstream has is told apart from a conflict":
        ["test_merged_patch_is_told_to_be_dropped"],
    "a conflict names patch, file, hunk, lines expected and found, next command; exit codes differ":
        ["test_conflict_names_patch_file_hunk_lines_and_next_command",
         "test_supported_exit_codes_are_distinct"],
    "export makes the same bytes again; old files go only when the new set is complete":
        ["test_round_trip_is_byte_identical", "test_old_set_stays_until_the_new_one_is_complete"],
    "drift on another tree: clean, moved, merged, conflict, gone; text and JSON":
        ["test_moved_merged_conflict_and_gone", "test_drift_command_prints_text_and_json"],
    "line ends, missing final newline, binary, executable bit, rename, unusual names":
        ["test_crlf_checkout_stays_crlf", "test_contents_survive_byte_for_byte",
         "test_executable_bit_is_set_and_taken_back", "test_rename_patch", "test_unusual_names",
         "test_name_that_is_not_utf8"],
}  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim_has_its_tests(claim: str) -> None:
    here = Path(__file__).parent
    written = "".join(path.read_text(encoding="utf-8") for path in here.glob("test_*.py"))
    for name in CLAIMS[claim]:
        assert re.search(rf"^def {name}\(", written, re.MULTILINE), name
