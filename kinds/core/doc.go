// Package core describes the kinds of the core group ("", v1): Pod, Service,
// Namespace, Node and the rest. Kinds is the group's table, a file (or a few) each
// kind. What other groups need of a pod template (defaults, validation, warnings,
// dropped fields) is exported here; small pieces without a kind are in kinds/rules.
//
// The rules follow Kubernetes 1.36 with its default feature gates: pkg/apis/core/v1
// (defaults), pkg/apis/core/validation, pkg/registry/core (what a request may
// change), pkg/api/pod (warnings) and pkg/printers (columns).
package core
