package apiregistration

import (
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationv1beta1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

func oldService() []kinds.Version {
	return []kinds.Version{convert.Old[apiregistrationv1.APIService, apiregistrationv1beta1.APIService, apiregistrationv1beta1.APIServiceList](
		convert.New(), apiregistrationv1beta1.SchemeGroupVersion, "APIService", nil)}
}
