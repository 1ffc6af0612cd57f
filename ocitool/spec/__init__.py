"""The documents of images as frozen values, and the checks of what they may say."""
