package rules

import (
	"maps"
	"reflect"
	"slices"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

// The general rules of metadata are the server's. Kubernetes' kinds judge metadata
// again when they judge an update, so that the same error stands in an answer two or
// three times; and those of its core and apps groups know which finalizers without a
// domain there are.

// MetaCheck is what a kind's update judges of metadata beside the server.
type MetaCheck int

// A kind's update calls ValidateObjectMetaUpdate, ValidateObjectMeta, or both.
const (
	MetaUpdate MetaCheck = 1 << iota
	MetaFull
	MetaFullTwice
	// MetaGeneral leaves out which finalizers there are.
	MetaGeneral
	// MetaStatus calls ValidateObjectMetaUpdate on a write of status.
	MetaStatus
)

// WithMeta adds to k's Validate and ValidateUpdate what they judge of metadata.
func WithMeta(k *kinds.Kind, update MetaCheck) *kinds.Kind {
	if validate := k.Validate; validate != nil && update&MetaGeneral == 0 {
		k.Validate = func(obj kinds.Object) field.ErrorList {
			return append(Finalizers(obj.GetFinalizers(), field.NewPath("metadata")), validate(obj)...)
		}
	}
	if update&MetaStatus != 0 {
		MetaSubresource(k, "status", MetaUpdate)
	}
	if validate := k.ValidateUpdate; validate != nil {
		k.ValidateUpdate = func(obj, old kinds.Object) field.ErrorList {
			return append(metaErrors(k, update, obj, old), validate(obj, old)...)
		}
	}
	return k
}

// MetaSubresource adds to the update of a subresource what it judges of metadata.
func MetaSubresource(k *kinds.Kind, name string, update MetaCheck) {
	s := k.Subresources[name]
	validate := s.ValidateUpdate
	s.ValidateUpdate = func(obj, old kinds.Object) field.ErrorList {
		errs := metaErrors(k, update, obj, old)
		if validate != nil {
			errs = append(errs, validate(obj, old)...)
		}
		return errs
	}
	k.Subresources[name] = s
}

// MetaChange is what a kind's update judges of metadata first, for a kind that does
// so later.
func MetaChange(k *kinds.Kind, obj, old kinds.Object) field.ErrorList {
	return metaErrors(k, MetaUpdate, obj, old)
}

func metaErrors(k *kinds.Kind, check MetaCheck, obj, old kinds.Object) field.ErrorList {
	if sameMeta(obj, old) {
		return nil
	}
	path := field.NewPath("metadata")
	var errs field.ErrorList
	var finalizers field.ErrorList
	if check&MetaGeneral == 0 {
		finalizers = Finalizers(obj.GetFinalizers(), path)
	}
	if check&MetaUpdate != 0 {
		errs = append(errs, apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, path)...)
		errs = append(errs, finalizers...)
	}
	full := 0
	if check&MetaFull != 0 {
		full = 1
	}
	if check&MetaFullTwice != 0 {
		full = 2
	}
	for range full {
		errs = append(errs, apivalidation.ValidateObjectMetaAccessor(obj, k.Namespaced, apivalidation.ValidateNameFunc(k.Name), path)...)
		errs = append(errs, finalizers...)
	}
	return errs
}

// sameMeta says whether nothing of metadata that rules look at has changed.
func sameMeta(obj, old kinds.Object) bool {
	return obj.GetName() == old.GetName() && obj.GetNamespace() == old.GetNamespace() && obj.GetUID() == old.GetUID() &&
		obj.GetGenerateName() == old.GetGenerateName() && obj.GetResourceVersion() != "" && obj.GetGeneration() >= old.GetGeneration() &&
		obj.GetCreationTimestamp() == old.GetCreationTimestamp() &&
		reflect.DeepEqual(obj.GetDeletionTimestamp(), old.GetDeletionTimestamp()) &&
		reflect.DeepEqual(obj.GetDeletionGracePeriodSeconds(), old.GetDeletionGracePeriodSeconds()) &&
		maps.Equal(obj.GetLabels(), old.GetLabels()) && maps.Equal(obj.GetAnnotations(), old.GetAnnotations()) &&
		slices.Equal(obj.GetFinalizers(), old.GetFinalizers()) &&
		reflect.DeepEqual(obj.GetOwnerReferences(), old.GetOwnerReferences())
}

// Finalizers wants finalizers without a domain to be Kubernetes' own; meta is the
// path of metadata.
func Finalizers(list []string, meta *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range list {
		errs = append(errs, KubeFinalizer(f, meta.Child("finalizers").Index(i))...)
	}
	return errs
}
