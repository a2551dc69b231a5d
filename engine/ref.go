package engine

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// NormalizeRef spells a reference out as the store keeps it: "busybox" is
// docker.io/library/busybox:latest. An invalid one is ErrInvalid.
func NormalizeRef(ref string) (string, error) {
	n, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("%w: image reference %q: %w", ErrInvalid, ref, err)
	}
	return n.String(), nil
}

// FamiliarRef is the short form of a normalised reference, as Docker prints it.
func FamiliarRef(ref string) string {
	n, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(n)
}

// IsImageID tells whether ref can be an image id or a prefix of one: hexadecimal
// digits, perhaps after "sha256:".
func IsImageID(ref string) bool {
	h := strings.TrimPrefix(ref, "sha256:")
	if len(h) == 0 || len(h) > 64 || (len(h) < 4 && h == ref) {
		return false
	}
	return strings.Trim(h, "0123456789abcdef") == ""
}
