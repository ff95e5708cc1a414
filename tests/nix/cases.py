"""All cases: one a trap, an exposure or a promise."""

import cases_made
import cases_open
import cases_refused
import cases_reports

CASES = (*cases_made.CASES, *cases_refused.CASES, *cases_open.CASES, *cases_reports.CASES)
