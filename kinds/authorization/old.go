package authorization

import (
	authorizationv1beta1 "k8s.io/api/authorization/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// The reviews of v1beta1 say the same as those of v1. They are never listed, so the type
// of their lists is of no account.

var same = convert.New()

func old[H, O any, PH interface {
	*H
	kinds.Object
}, PO interface {
	*O
	runtime.Object
}](kind string) []kinds.Version {
	return []kinds.Version{convert.Old[H, O, metav1.List, PH, PO](same, authorizationv1beta1.SchemeGroupVersion, kind, nil)}
}
