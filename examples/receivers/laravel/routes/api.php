<?php
// In an application of Laravel this makes https://…/api/hook.

use App\Http\Controllers\RingbackController;
use App\Http\Middleware\VerifyRingback;
use Illuminate\Support\Facades\Route;

Route::post('/hook', RingbackController::class)->middleware(VerifyRingback::class);
