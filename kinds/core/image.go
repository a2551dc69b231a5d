package core

import (
	"strings"

	"github.com/distribution/reference"
	v1 "k8s.io/api/core/v1"
)

// pullPolicy is the default of an image: Always for the tag latest, given or
// implied, else IfNotPresent. An image that is no reference at all gets
// IfNotPresent, as validation may yet let it pass.
func pullPolicy(image string) v1.PullPolicy {
	name, latest := strings.CutSuffix(image, ":latest")
	if !latest && (image == "" || hasTagOrDigest(image)) {
		return v1.PullIfNotPresent
	}
	if plainName(name) {
		return v1.PullAlways
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return v1.PullIfNotPresent
	}
	tagged, ok := named.(reference.Tagged)
	if ok && tagged.Tag() == "latest" || reference.IsNameOnly(named) {
		return v1.PullAlways
	}
	return v1.PullIfNotPresent
}

// hasTagOrDigest says whether the last part of image has a tag, or image a digest.
func hasTagOrDigest(image string) bool {
	if strings.IndexByte(image, '@') >= 0 {
		return true
	}
	return strings.IndexByte(image[strings.LastIndexByte(image, '/')+1:], ':') >= 0
}

// plainName says whether name is surely a valid image name: lower-case letters,
// digits and single dots or dashes between them, in parts separated by slashes. It
// spares most images the parser's regular expressions.
func plainName(name string) bool {
	if len(name) == 0 || len(name) > 200 || len(name) == 64 {
		return false
	}
	separated := true
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			separated = false
		case (c == '.' || c == '-' || c == '/') && !separated:
			separated = true
		default:
			return false
		}
	}
	return !separated
}
