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
         "test_damaged_journal_is_diagnosed", "test_files_put_back_with_git_after_a_killed_upgrade",
         "test_run_that_is_killed_while_another_waits_for_the_lock"],
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
         "test_repository_without_history", "test_trust_from_the_users_own_configuration_counts",
         "test_repository_of_another_user_is_refused_with_the_remedy", "test_what_is_not_a_lerobot_clone",
         "test_really_read_only_checkout", "test_directory_spelled_with_other_letters_is_refused",
         "test_nested_repository_in_the_way_is_refused"],
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
    # The first 27 are lines of the same list; these were added since.
    "of two runs at once the second says who is at work":
        ["test_concurrent_run_is_refused_and_names_the_holder",
         "test_lock_is_free_after_its_holder_was_killed"],
    "a full disk leaves the old tree":
        ["test_failed_write_restores_the_old_tree", "test_full_disk_while_the_journal_is_written",
         "test_really_full_disk", "test_full_temporary_directory",
         "test_old_files_are_not_said_to_be_back_where_they_are_not"],
    "what the system refuses is said in a sentence":
        ["test_what_the_system_refuses_is_no_traceback", "test_names_that_the_terminal_cannot_show",
         "test_log_on_a_full_disk_does_not_stop_the_work", "test_older_python_reads_a_sentence",
         "test_file_system_without_locks_is_not_another_run"],
    "run with sudo nothing in the user's checkout becomes root's":
        ["test_run_as_root_leaves_no_file_of_roots"],
    "what cannot be gone on with is refused before it is patched":
        ["test_release_that_cannot_be_installed_is_refused_before_it_is_patched",
         "test_checkout_of_another_release_than_asked_for_is_refused",
         "test_prod_builds_no_wheel_of_a_tree_near_a_release"],
    "the nearest series is fitted to an unlisted tree with labels, or refused":
        ["test_nearest_installs_labelled_and_uninstalls_exactly", "test_nearest_refuses_on_conflict",
         "test_unlisted_tree_is_refused_without_nearest"],
    "of several copies of one release each gets the patches made for it":
        ["test_of_rivals_the_one_made_for_this_copy_applies", "test_history_does_not_decide_between_rivals",
         "test_optional_patch_is_left_out_where_its_file_is_missing"],
    "overlay files without a place in a release stay out of it":
        ["test_overlay_leaves_out_what_the_release_has_no_place_for",
         "test_upgrade_removes_what_is_left_out_now"],
    "export takes the edits of the overlay home, and never over a newer one":
        ["test_edited_overlay_file_is_copied_back", "test_overlay_that_is_newer_than_the_checkout_stays",
         "test_overlay_file_changed_on_both_sides_refuses",
         "test_new_package_in_the_overlay_is_copied_back_without_what_git_ignores"],
    "export loses no edit in silence: committed ones, and where git cannot tell":
        ["test_committed_edits_are_exported", "test_export_from_a_repository_without_commits",
         "test_export_where_git_fails"],
    "the remedies that messages name do work":
        ["test_remedy_for_an_edit_works", "test_remedy_for_a_lost_original_works",
         "test_files_put_back_with_git_after_a_killed_upgrade"],
    "the report runs upstream's tests before and after and writes nothing into the checkout":
        ["test_every_test_is_compared", "test_adapted_test_is_listed_and_runs_as_released_before",
         "test_report_has_all_proofs_and_one_verdict", "test_verify_reports_on_the_real_release"],
    "another version checked out since is left alone, fitted or refused like any other":
        ["test_uninstall_after_another_version_was_checked_out",
         "test_another_supported_version_is_patched_in_its_turn",
         "test_unsupported_version_checked_out_later_is_refused_or_fitted",
         "test_another_version_checked_out_after_a_killed_run",
         "test_uncommitted_edit_is_never_taken_for_another_version",
         "test_committed_edit_of_a_patched_tree_is_no_other_version"],
    "line ends that git converted are no edits; those of a file to remove are":
        ["test_line_ends_converted_after_the_installation",
         "test_file_of_ours_with_other_line_ends_is_not_removed"],
    "without a record nothing is called LeRobot's own that is not":
        ["test_uninstall_and_status_without_a_record",
         "test_committed_patched_tree_without_history_is_recognised",
         "test_committed_patched_tree_tells_which_rival_it_was_made_of",
         "test_edited_tree_without_a_record_is_refused_at_uninstall"],
    "the matrix tests every release in a place of its own":
        ["test_matrix_tests_every_release_in_its_own_place_and_passes_the_failure_on",
         "test_matrix_goes_on_where_a_release_cannot_be_set_up"],
}  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim_has_its_tests(claim: str) -> None:
    here = Path(__file__).parent
    written = "".join(path.read_text(encoding="utf-8") for path in here.glob("test_*.py"))
    for name in CLAIMS[claim]:
        assert re.search(rf"^def {name}\(", written, re.MULTILINE), name
