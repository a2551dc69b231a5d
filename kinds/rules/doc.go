// Package rules holds the small pieces that the rows of the kinds table are made
// of: adapters from typed funcs to the funcs of kinds.Kind, validation functions
// with Kubernetes' messages, and printed-column helpers. It knows no kind; the
// groups under kinds use it.
package rules
