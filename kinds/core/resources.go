package core

import (
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// roundResources rounds quantities up to thousandths, the finest the API keeps.
func roundResources(list v1.ResourceList) {
	for name, q := range list {
		was := q
		if q.RoundUp(resource.Milli); q != was {
			list[name] = q
		}
	}
}

// fillMissing copies to dst (made if need be) what only src has.
func fillMissing(dst, src v1.ResourceList) v1.ResourceList {
	for name, q := range src {
		if _, ok := dst[name]; ok {
			continue
		}
		if dst == nil {
			dst = v1.ResourceList{}
		}
		dst[name] = q.DeepCopy()
	}
	return dst
}

func isHugePages(name v1.ResourceName) bool {
	return strings.HasPrefix(string(name), v1.ResourceHugePagesPrefix)
}

// isNative says whether a resource is Kubernetes' own: without a domain, or with
// its domain.
func isNative(name v1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), v1.ResourceDefaultNamespacePrefix)
}

// overcommits says whether limits of a resource may be above its requests.
func overcommits(name v1.ResourceName) bool { return isNative(name) && !isHugePages(name) }
