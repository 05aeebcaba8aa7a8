"""The measures of likeness against scikit-image's and against closed forms."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_sample_image

from sdnet.decoding.likeness import colour_corrected, contrast, psnr, ssim


def test_likeness_against_scikit_image() -> None:
    photo = torch.from_numpy(load_sample_image("flower.jpg")[100:148, 100:164].copy()).permute(2, 0, 1)[None] / 255
    shown = photo + 0.2 * torch.randn_like(photo)
    clipped = shown.clamp(0, 1)[0].double().numpy()
    expected = peak_signal_noise_ratio(photo[0].double().numpy(), clipped, data_range=1)
    assert psnr(shown, photo) == pytest.approx([expected])
    options = {
        "channel_axis": 0,
        "data_range": 1,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    assert ssim(shown, photo) == pytest.approx([structural_similarity(photo[0].double().numpy(), clipped, **options)])
    faded = photo * torch.tensor([0.01, -0.2, 0.1]).view(3, 1, 1) + 0.3
    torch.testing.assert_close(colour_corrected(faded, photo).float(), photo, atol=1e-4, rtol=0)
    best = np.polyfit(shown[0, 1].flatten().double().numpy(), photo[0, 1].flatten().double().numpy(), 1)
    fitted = best[0] * shown[0, 1].double() + best[1]
    torch.testing.assert_close(colour_corrected(shown, photo)[0, 1], fitted)
    grey = colour_corrected(torch.full_like(photo, 0.7), photo)
    torch.testing.assert_close(grey[0, :, 0, 0].float(), photo[0].mean((1, 2)))
    two = torch.rand(2, 3, 12, 12)
    assert contrast(0.25 * two + two[:1], two) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="images of one shape"):
        psnr(photo, two)
